"""Measurements on an accelerator: runs an hour, a training step at 7 B shapes, and the gate in half precision."""
