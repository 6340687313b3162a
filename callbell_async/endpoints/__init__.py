"""The groups of endpoints, one module a resource; each method is one statement over the one call beneath."""
