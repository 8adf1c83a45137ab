"""What a 7 B model costs, from shapes: the figures of a model that is opened by name, marked as computed."""

from __future__ import annotations

import pytest

from pcvr import PcvrError
from pcvr.experiments.full_size import full_size, full_size_epoch


def test_an_epoch_is_computed_and_says_so() -> None:
    said = full_size_epoch(1000, 100, picture=(64, 48))
    assert said.startswith("computed, not run here") and "1,000 samples" in said and "at 100 TFLOP a second" in said
    assert "bfloat16" in said and "4 bits" in said


def test_it_is_the_released_size() -> None:
    plain, small = full_size(), full_size(four_bit=True)
    assert 6.9e9 < plain.needed.parameters < 7.2e9, "LLaVA-1.5-7B has 7.06 billion"
    assert plain.needed.training > 2 * small.needed.training


def test_wrong_numbers() -> None:
    with pytest.raises(PcvrError, match="tflops is 0"):
        full_size_epoch(1000, 0)
    with pytest.raises(PcvrError, match="data is 0"):
        full_size_epoch(0, 100)
