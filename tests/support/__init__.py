"""Helpers for tests: clocks, servers, clients, processes."""
