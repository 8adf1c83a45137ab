"""Every figure of a test is as wide as a page at most, and its texts can be read there."""

from tests.legible import legible_figures

__all__ = ["legible_figures"]
