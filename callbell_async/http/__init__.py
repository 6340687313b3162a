"""One HTTP request, from value to value."""
