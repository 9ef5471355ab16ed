"""Methods that read gradients at the input or around it, without a path."""
