"""Methods that hold another method and average it, over noise or over references."""
