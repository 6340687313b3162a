"""Callbell's HTTP surface, one module a resource."""
