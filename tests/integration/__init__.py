"""Tests against real Redis and PostgreSQL servers, which they start on free ports of 127.0.0.1, and in a real browser."""
