"""Memory that was freed, given back to the system."""

from __future__ import annotations

import ctypes
import gc
import sys


def give_back(collect: bool = False) -> None:
    """Give freed memory back to the system, where the C library can do it (glibc); it takes some milliseconds.

    After many tensors of some hundred kilobytes the C library keeps their memory for the next ones: after a training
    this is some hundred megabytes.

    Args:
        collect: whether objects that refer to each other are looked for first, which takes tenths of a second.
    """
    if collect:
        gc.collect()
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # musl has none
        if trim is not None:
            trim(0)
