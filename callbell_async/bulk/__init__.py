"""Sending many messages: the input is read lazily, a bounded number of requests is in flight, and every message has a result."""

from callbell_async.bulk.pool_size import FIRST_WORKERS, MAX_WORKERS
from callbell_async.bulk.send_run import SendRun
from callbell_async.bulk.single_send import SingleSends, check_pair, send_in_window
from callbell_async.bulk.stop_rules import DEFAULT_STOP_ON

__all__ = ["DEFAULT_STOP_ON", "FIRST_WORKERS", "MAX_WORKERS", "SendRun", "SingleSends", "check_pair", "send_in_window"]
