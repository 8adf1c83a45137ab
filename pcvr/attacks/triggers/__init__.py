"""One trigger a file."""
