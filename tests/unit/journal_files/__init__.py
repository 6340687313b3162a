"""The files of a journal: damage, copies, untrusted content, and several processes."""
