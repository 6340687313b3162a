"""Tests: each docstring is a promise."""
