"""Methods that integrate gradients along walks of attacks, and how these walks are found."""
