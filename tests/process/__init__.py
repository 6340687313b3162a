"""Tests that start processes, or end them."""
