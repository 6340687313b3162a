"""Sending very many messages: lazily fed, with a fixed number under way, and the truth about each of them."""

from callbell_async.bulk.send_run import DEFAULT_STOP_ON, SendRun

__all__ = ["DEFAULT_STOP_ON", "SendRun"]
