"""The triggers, one a file."""
