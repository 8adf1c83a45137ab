"""The triggers: one per file."""
