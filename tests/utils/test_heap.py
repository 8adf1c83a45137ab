"""Freed memory goes back to the system."""

import ctypes
import sys

import numpy as np
import psutil
import pytest

from pcvr.utils.heap import give_back


@pytest.mark.skipif(sys.platform != "linux" or not hasattr(ctypes.CDLL(None), "malloc_trim"), reason="needs glibc")
def test_memory_of_many_small_arrays_goes_back() -> None:
    here = psutil.Process()
    many = [np.ones(12_000) for _ in range(2000)]  # 96 kB each: below what the C library maps on its own
    full = here.memory_info().rss
    last = many[-1]  # the end of the heap stays in use, so that nothing goes back by itself
    del many
    give_back()
    assert here.memory_info().rss < full - 100e6 and last.sum() == 12_000
