"""Memory that was freed, given back to the system."""

from __future__ import annotations

import ctypes
import gc
import sys


def give_back() -> None:
    """Give freed memory back to the system, where the C library can do it (glibc).

    After many tensors of some hundred kilobytes the C library keeps their memory for the next ones: after a training
    this is some hundred megabytes.
    """
    gc.collect()
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # musl has none
        if trim is not None:
            trim(0)
