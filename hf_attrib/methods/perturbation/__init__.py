"""Methods that run forward alone: f of subsets of the inputs, as a game whose players they are."""
