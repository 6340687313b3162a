"""The library's values: the messages that are sent, and the models of responses and events. Frozen attrs classes, without I/O."""
