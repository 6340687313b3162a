"""The exit statuses; docs/reference/exit-codes.md lists them for users."""

from __future__ import annotations

__all__ = ["DONE", "HUNG_UP", "INTERRUPTED", "JOURNAL_UNUSABLE", "NOT_ALL_DONE", "TERMINATED", "WRONG_USE"]

DONE = 0
"""Everything was done; of messages: all were accepted, now or before."""
NOT_ALL_DONE = 1
"""A message was not accepted, Callbell refused a request, or no response came."""
WRONG_USE = 2
"""An option, a file or the token is wrong; nothing was done."""
JOURNAL_UNUSABLE = 3
"""The journal is in use by another process, damaged, not a journal, or can't be written."""
HUNG_UP = 129
"""Ended by SIGHUP: the terminal was closed."""
INTERRUPTED = 130
"""Ended by SIGINT (Ctrl-C), with the number that shells use."""
TERMINATED = 143
"""Ended by SIGTERM."""
