"""The attack lab's controls: each changes what is shown, and what is refused leaves the last picture."""

from __future__ import annotations

from typing import Any

import pytest

from pcvr.attacks import ATTACKS
from pcvr.data.scenes import Scenes
from pcvr.widgets.attack_lab import LabControls, lab_explorer, lab_view


@pytest.fixture(scope="module")
def scenes() -> Scenes:
    return Scenes(8)


@pytest.fixture
def controls(scenes: Scenes) -> LabControls:
    return lab_explorer(scenes)[1]


@pytest.mark.parametrize(("control", "value"), [("sample", 5), ("side", 64), ("strength", 0.5), ("preset", "compat")])
def test_every_control_changes_the_picture(controls: LabControls, control: str, value: Any) -> None:
    before = controls.picture.value
    getattr(controls, control).value = value
    assert controls.picture.value != before


def test_the_words_are_the_views(scenes: Scenes, controls: LabControls) -> None:
    controls.strength.value = 0.5
    _, psnr = lab_view(scenes, 0, strength=0.5)
    most = min(psnr, key=psnr.__getitem__)
    assert f"Changed most: <b>{most}</b> ({psnr[most]:.1f} dB)" in controls.status.value
    assert f"{len(ATTACKS)} attacks on one image" in controls.picture.tooltip


def test_every_control_has_a_label_and_waits_for_the_hand_to_stop(scenes: Scenes) -> None:
    box, controls = lab_explorer(scenes)
    moved = (controls.sample, controls.side, controls.strength)
    assert all(slider.continuous_update is False for slider in moved)
    labels = [each.description for each in (*moved, controls.preset)]
    assert all(labels) and len(set(labels)) == len(labels)
    assert controls.picture in box.children and controls.status in box.children
