"""The figure of the file, what a model sees of it, and what is left of a trigger."""

from __future__ import annotations

import numpy as np
import pytest

import pcvr
from pcvr.plots.describe import description, png
from pcvr.plots.sight import what_is_seen
from pcvr.plots.style import CLEAN, TRIGGERED
from tests.models.test_sight import built
from tests.pictures import noise


def test_a_row_for_each_place() -> None:
    from matplotlib.colors import to_hex

    vlm, image = built("llava"), noise(60, 100, 3) // 2
    patch = pcvr.get_attack("badnets")
    worn = {"file": patch.trigger, "seen": patch.fitted_to(vlm).trigger}
    figure = what_is_seen(vlm, image, {k: t(image) for k, t in worn.items() if t is not None}, title="A patch")
    said = description(figure)
    assert "100 x 60 px" in said and "columns 20 to 80" in said
    assert "file: lost: outside the visible part" in said and "seen: the trigger reaches the model" in said
    assert len(figure.axes) == 6
    above, below = figure.axes[2].images[0].get_array(), figure.axes[5].images[0].get_array()
    assert not above.any() and below[-4:, -4:].min() > 100 and not below[:30].any()
    frames = [to_hex(figure.axes[k].spines["top"].get_edgecolor()).upper() for k in (2, 5)]
    assert frames == [CLEAN, TRIGGERED]
    assert png(figure)[1:4] == b"PNG"


def test_tiles_are_counted() -> None:
    figure = what_is_seen(built("llava_next"), noise(60, 100, 3), {"sig": np.asarray(noise(60, 100, 3, seed=1))})
    assert "tiles of 48 × 48 px" in figure.axes[1].get_xlabel()
    assert "all of it" in description(figure)


def test_bad_input() -> None:
    vlm = built("llava")
    for worn in ({}, {"other": noise(50, 100, 3)}):
        with pytest.raises(pcvr.PcvrError, match="all as large as the original"):
            what_is_seen(vlm, noise(60, 100, 3), worn)
