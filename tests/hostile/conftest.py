"""Fixtures of the hostile cases."""

from tests.tiny import scenes, tiny, tiny_folder

__all__ = ["scenes", "tiny", "tiny_folder"]
