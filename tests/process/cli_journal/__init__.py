"""The command line with a journal, one module a subject."""
