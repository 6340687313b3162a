"""The exit statuses; docs/command-line.md says what they mean for each command."""

from __future__ import annotations

__all__ = ["DONE", "INTERRUPTED", "JOURNAL_UNUSABLE", "NOT_ALL_DONE", "TERMINATED", "WRONG_USE"]

DONE = 0
"""All that was asked for was done; of messages: all were accepted, now or before."""
NOT_ALL_DONE = 1
"""Some of it was not: a message was not accepted, Callbell refused, or no answer came."""
WRONG_USE = 2
"""An option, a file or the token; nothing was done."""
JOURNAL_UNUSABLE = 3
"""The journal is in use by another process, damaged, not a journal, or can't be written."""
INTERRUPTED = 130
"""By SIGINT (Ctrl-C), as shells count it."""
TERMINATED = 143
"""By SIGTERM."""
