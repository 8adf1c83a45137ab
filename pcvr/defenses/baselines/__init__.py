"""One rival defence a file."""
