"""Tests with other programs: a browser."""
