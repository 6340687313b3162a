"""Conversion between bytes and models. Every quirk of Callbell's JSON is handled here.

Keys are snake_case in requests and camelCase in responses. In responses, null and missing are the same, unknown keys are ignored, and
unknown enum values become plain strings, so that additions to Callbell's API break nothing.
"""

from callbell_async.wire.converter import dump_model
from callbell_async.wire.json_text import WireError, dump_arguments, dump_json, load_json
from callbell_async.wire.messages import JOURNAL_IN_METADATA, KEY_IN_METADATA, dump_keyed_message, dump_message
from callbell_async.wire.responses import load_items, load_one, load_receipt, load_user_status, load_whole

__all__ = [
    "JOURNAL_IN_METADATA",
    "KEY_IN_METADATA",
    "WireError",
    "dump_arguments",
    "dump_json",
    "dump_keyed_message",
    "dump_message",
    "dump_model",
    "load_items",
    "load_json",
    "load_one",
    "load_receipt",
    "load_user_status",
    "load_whole",
]
