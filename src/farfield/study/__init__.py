"""One file a command that joins wings: read, call pure functions in order, write artifacts."""
