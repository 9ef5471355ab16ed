"""Views for terminals: what rich prints of a result."""
