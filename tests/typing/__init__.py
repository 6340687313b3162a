"""The types of the public API, as a type checker sees them; nothing here runs."""
