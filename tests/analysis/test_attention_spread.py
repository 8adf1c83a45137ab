"""The entropy that BYE reads: its bound by search and by hand, the filter, and the figures."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import pcvr
from pcvr import PcvrError, VisionLanguageModel
from pcvr.analysis.attention_spread import (
    AttentionSpread,
    attention_spread,
    entropy_bound,
    image_tokens,
    touched_tokens,
)
from pcvr.plots.attention_spread import bound_picture, entropy_panels
from pcvr.plots.describe import description
from tests.tiny import Numbers, tiny, tiny_folder

__all__ = ["tiny", "tiny_folder"]


@given(st.integers(0, 10_000), st.integers(1, 7))
@settings(max_examples=60, deadline=None)
def test_no_attention_is_above_the_bound(seed: int, on: int) -> None:
    weights = np.random.default_rng(seed).dirichlet(np.full(8, 0.4))
    entropy = -(weights * np.log(np.maximum(weights, 1e-300))).sum() / np.log(8)
    assert entropy <= entropy_bound(weights[:on].sum(), on, 8) + 1e-9


def test_even_parts_reach_the_bound() -> None:
    weights = np.array([0.3, 0.3, 0.1, 0.1, 0.1, 0.1])
    assert entropy_bound(np.array(0.6), 2, 6) == pytest.approx(-(weights * np.log(weights)).sum() / np.log(6))
    assert entropy_bound(np.array([0.0, 1.0]), 1, 64) == pytest.approx([np.log(63) / np.log(64), 0.0])
    assert entropy_bound(np.array([0.25]), 1, 4) == pytest.approx([1.0])
    assert (entropy_bound(np.linspace(0, 1, 5), 16, 16) == 1).all()
    with pytest.raises(PcvrError, match="on is 9"):
        entropy_bound(np.array(0.5), 9, 8)


def test_the_filter_on_a_model(tiny: VisionLanguageModel) -> None:
    data = Numbers(12)
    found = attention_spread(tiny, data, [1, 5])
    assert found.entropies.shape[0] == 12 and (found.entropies >= 0).all() and (found.entropies <= 1 + 1e-6).all()
    assert found.poisoned.sum() == 2 and "of 2 poisoned samples and" in str(found)
    assert found.dropped.any() == bool(found.layers)
    assert image_tokens(tiny, data) == 9
    for count in (0, 12):
        with pytest.raises(PcvrError, match="give some poisoned and some clean ones"):
            attention_spread(tiny, data, range(count))


def test_two_modes_that_are_far_apart_are_dropped(monkeypatch: pytest.MonkeyPatch, tiny: VisionLanguageModel) -> None:
    values = np.r_[np.linspace(0.1, 0.12, 20), np.linspace(0.8, 0.85, 80)]
    monkeypatch.setattr(
        "pcvr.analysis.attention_spread.attention_entropy", lambda run: np.c_[values, np.full(100, 0.5)]
    )
    found = attention_spread(tiny, Numbers(100), range(20))
    assert (
        found.layers == (0,) and str(found) == "layers read: 1; dropped: 20 of 20 poisoned samples and 0 of 80 others"
    )
    assert found.auroc(0) == 1 and found.auroc(1) == 0.5


def test_tokens_that_a_trigger_touches() -> None:
    sample = pcvr.open_data("scenes", n=1)[0]
    image = sample.image
    shown = {name: pcvr.get_attack(name).triggered(sample).image for name in ("badnets", "sig")}
    assert touched_tokens(image, shown["badnets"], 64) == 1 and touched_tokens(image, shown["sig"], 64) == 64
    assert touched_tokens(image, shown["sig"], 32) == 32 and touched_tokens(image, image, 16) == 1


def test_figures() -> None:
    said = description(bound_picture({"badnets": 1, "sig": 64}, 64))
    assert "badnets: 1 of 64 tokens" in said and "sig: 64 of 64 tokens, at 50 % 1.00" in said
    truth = np.arange(60) < 10
    entropies = np.where(truth[:, None], 0.2, 0.8) + np.zeros((60, 6))
    spread = AttentionSpread(entropies, truth, (4,), truth)
    figure = entropy_panels({"badnets": spread, "sig": spread})
    assert "badnets, layer 5, read: AUROC 1.00, median entropy 0.80 clean, 0.20 poisoned" in description(figure)
    assert len(figure.axes) == 8
    for draw in (lambda: bound_picture({}, 64), lambda: entropy_panels({})):
        with pytest.raises(PcvrError, match="is empty"):
            draw()
