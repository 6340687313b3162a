"""The control API under `/_sandbox/`: seeds, reads and changes a running sandbox from any language."""
