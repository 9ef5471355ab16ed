"""Methods that integrate gradients along a path from a baseline that the caller names."""
