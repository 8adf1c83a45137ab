"""Principal angles of adapters, and an adapter without its hijacked directions or with only them."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import pcvr
from pcvr import PcvrError, VisionLanguageModel
from pcvr.analysis.adapter_angles import PARTS, adapter_part, benign_reference, principal_angles
from pcvr.defenses.baselines.ortho_purify import adapted
from pcvr.plots.adapter_angles import angles_picture, removed_in_words, short_name
from pcvr.plots.describe import description
from tests.tiny import Numbers, tiny, tiny_folder

__all__ = ["tiny", "tiny_folder"]
Pair = tuple[VisionLanguageModel, VisionLanguageModel]


@pytest.fixture(scope="module")
def pair(tiny: VisionLanguageModel) -> Pair:
    """A model that was fine-tuned for a few steps, and a reference of two steps."""
    config = pcvr.TrainConfig(max_steps=4, batch_size=4)
    received = pcvr.finetune(tiny, Numbers(), config=config, progress=False).model
    return received, benign_reference(tiny, Numbers(4), steps=2)


def test_angles_of_a_pair_and_of_an_adapter_with_itself(pair: Pair) -> None:
    angles = principal_angles(*pair, directions=3)
    assert angles.keys() == adapted(pair[0]).keys()
    for each in angles.values():
        assert each.shape == (3,) and (np.diff(each) >= 0).all() and each[0] >= 0 and each[-1] <= 90
    assert max(each.max() for each in principal_angles(pair[0], pair[0], 3).values()) < 0.1


def test_the_two_parts_add_up_and_the_adapter_is_put_back(pair: Pair) -> None:
    received, _ = pair
    before = {name: own.down.detach().clone() for name, own in adapted(received).items()}
    left = {}
    for part in PARTS:
        with adapter_part(*pair, part):
            left[part] = {name: own.down.detach().clone() for name, own in adapted(received).items()}
    for name, own in adapted(received).items():
        assert torch.equal(own.down, before[name])
        assert torch.allclose(left[PARTS[0]][name] + left[PARTS[1]][name], before[name], atol=1e-6)
    assert any(not torch.allclose(left[PARTS[0]][name], before[name], atol=1e-4) for name in before)


def test_without_any_direction_beyond_the_angle_nothing_changes(pair: Pair) -> None:
    before = {name: own.down.detach().clone() for name, own in adapted(pair[0]).items()}
    with adapter_part(*pair, PARTS[0], angle=90.0):
        assert all(torch.allclose(own.down, before[name], atol=1e-6) for name, own in adapted(pair[0]).items())


def test_it_is_put_back_after_an_error_too(pair: Pair) -> None:
    before = {name: own.down.detach().clone() for name, own in adapted(pair[0]).items()}
    with pytest.raises(KeyError), adapter_part(*pair, PARTS[1]):
        raise KeyError
    assert all(torch.equal(own.down, before[name]) for name, own in adapted(pair[0]).items())


def test_what_does_not_fit(pair: Pair, tiny: VisionLanguageModel) -> None:
    with pytest.raises(PcvrError, match="has no LoRA adapter"):
        principal_angles(tiny, pair[1])
    with pytest.raises(PcvrError, match="unknown part 'all'"), adapter_part(*pair, "all"):
        pass
    config = pcvr.TrainConfig(max_steps=1, batch_size=4, lora_r=2)
    narrow = pcvr.finetune(tiny, Numbers(4), config=config, progress=False).model
    with pytest.raises(PcvrError, match="change different matrices"):
        principal_angles(pair[0], narrow)


def test_the_figure() -> None:
    layers = {"model.language_model.layers.1.self_attn.q_proj": np.array([10.0, 60.0]), "x.linear_2": np.array([50.0])}
    assert removed_in_words(layers) == "1 of 3 removed" and removed_in_words(layers, 5.0) == "3 of 3 removed"
    figure = angles_picture({"clean": layers, "backdoored": layers})
    assert "backdoored: 1 of 3 removed, median 50 degrees" in description(figure)
    assert [text.get_text() for text in figure.axes[0].get_yticklabels()] == ["layer 2: q_proj", "linear_2"]
    assert short_name("base.qformer.encoder.layer.0.attention.query") == "Q-Former 1: query"
    with pytest.raises(PcvrError, match="adapters is empty"):
        angles_picture({})
