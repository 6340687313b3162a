"""The groups of endpoints, one module for each kind of resource. Each method is one statement over the call in `base`."""
