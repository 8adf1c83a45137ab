"""What a measurement needs of its device: the name, a clock that waits for it, its peak memory and its peak speed."""

from __future__ import annotations

import platform
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import torch

from pcvr.errors import PcvrError

Result = TypeVar("Result")
MIB = 2**20


def check_cuda(device: torch.device) -> None:
    """Raise unless `device` is a CUDA device.

    Raises:
        PcvrError: it is another one.
    """
    if device.type != "cuda":
        raise PcvrError(
            f"shapes is 'full', which needs a CUDA device, and the device here is {device.type!r}: run it on a machine "
            "with a GPU and torch's build for it, or give --shapes tiny, which only shows that the script works."
        )


def name_of(device: torch.device) -> str:
    """Return the name of a device as its maker gives it; of a CPU the architecture."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{device.type} ({platform.machine()})"


def wait_for(device: torch.device) -> None:
    """Wait until a device has done all work that was given to it; a CPU has."""
    if device.type != "cpu":
        torch.accelerator.synchronize(device)


def timed(device: torch.device, work: Callable[[], Result]) -> tuple[Result, float]:
    """Return what `work` returns, and its wall time in seconds, the device's share of it included."""
    wait_for(device)
    began = time.perf_counter()
    result = work()
    wait_for(device)
    return result, time.perf_counter() - began


class PeakMemory:
    """The peak memory since it was made.

    On a CUDA device the memory is what torch allocated there; elsewhere it is the memory of the process, the program
    included. Linux keeps the highest peak since the process began, loading included, and a child inherits it; so the
    peak is reset first.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
        else:
            Path("/proc/self/clear_refs").write_text("5")

    def mib(self) -> float:
        """Return the peak so far, MiB."""
        if self.device.type == "cuda":
            return torch.cuda.max_memory_allocated(self.device) / MIB
        return int(re.findall(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())[0]) / 2**10


def peak_flops(device: torch.device, side: int, blocks: int = 5, products: int = 10) -> float:
    """Return the highest speed of a product of two bfloat16 matrices, in FLOP/s.

    Args:
        device: where.
        side: rows and columns of the matrices; a product is ``2 side**3`` FLOPs.
        blocks: the fastest of so many counts, after one to warm up.
        products: in a block, so that the start of a kernel does not count.
    """
    left, right = (torch.randn(side, side, device=device, dtype=torch.bfloat16) for _ in range(2))

    def block() -> None:
        for _ in range(products):
            torch.mm(left, right)

    block()
    best = min(timed(device, block)[1] for _ in range(blocks))
    return products * 2 * side**3 / best
