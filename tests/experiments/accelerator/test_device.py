"""What is measured of a device: time, memory and peak speed."""

from __future__ import annotations

import time

import pytest
import torch

from pcvr import PcvrError
from pcvr.experiments.accelerator.device import MIB, PeakMemory, check_cuda, name_of, peak_flops, timed

CPU = torch.device("cpu")


def test_the_clock_covers_the_work() -> None:
    def work() -> int:
        time.sleep(0.05)
        return 7

    result, seconds = timed(CPU, work)
    assert result == 7 and seconds >= 0.05


def test_memory_that_was_taken_for_a_moment_shows_and_older_memory_does_not() -> None:
    torch.ones(400 * MIB // 4)
    memory = PeakMemory(CPU)
    before = memory.mib()
    torch.ones(200 * MIB // 4)
    assert 150 < memory.mib() - before < 300


def test_the_peak_is_the_best_block_of_products(monkeypatch: pytest.MonkeyPatch) -> None:
    seconds = iter([0.5, 0.25, 1.0])
    monkeypatch.setattr("pcvr.experiments.accelerator.device.timed", lambda *_: (None, next(seconds)))
    assert peak_flops(CPU, side=8, blocks=3, products=4) == 4 * 2 * 8**3 / 0.25


def test_full_shapes_without_cuda_are_refused_in_one_sentence() -> None:
    with pytest.raises(PcvrError, match=r"^shapes is 'full', .* the device here is 'cpu': run it on .* --shapes tiny"):
        check_cuda(CPU)
    check_cuda(torch.device("cuda"))
    assert "cpu" in name_of(CPU)
