"""Hypothesis: properties and state machines."""
