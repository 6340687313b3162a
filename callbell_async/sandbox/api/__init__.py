"""Callbell's HTTP API: one module for each resource, and what they share: the router, validation, pages, and the JSON of responses."""
