"""What a model is made of: shapes on every architecture, patches, links, and the words that tokens lie near to."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import pcvr
from pcvr import VisionLanguageModel
from pcvr.analysis.anatomy import (
    anatomy,
    anatomy_table,
    block_links,
    busiest_patch,
    installed_models,
    likeness,
    nearest_words,
    patch_pixels,
    tower_layers,
)
from pcvr.data.scenes import KINDS
from pcvr.models.tower import tower_grid
from tests.families import write
from tests.looking import family, picture, vlm

__all__ = ["family", "vlm"]

CONNECTOR = {"llava": "projector", "llava_next": "projector", "blip-2": "queries", "instructblip": "queries"}


class TestAnatomy:
    def test_shapes_and_parameters_are_the_models_own(self, family: str, vlm: VisionLanguageModel) -> None:
        if vlm.family.layout == "patches":
            with pytest.raises(pcvr.PcvrError, match="no fixed grid"):
                anatomy(vlm, picture(0))
            return
        found = anatomy(vlm, picture(0))
        assert found.connector == CONNECTOR.get(family, "shuffle") and found.grid == tower_grid(vlm)
        assert found.patches == (48 // found.patch_px) ** 2
        assert found.tower[0] in (found.patches, found.patches + 1)
        assert sum(found.parameters.values()) == sum(p.numel() for p in vlm.base.parameters())
        assert all(found.parameters.values())
        width = vlm.base.get_input_embeddings().weight.shape[1]
        assert found.image_tokens[1] == width
        assert found.links.shape == (found.image_tokens[0], found.patches)
        layers = tower_layers(vlm, picture(0))
        assert layers.shape[1:] == (*found.grid, found.tower[1])
        table = anatomy_table([found, found])
        assert f"{found.parameters['connector']:,}" in table and "image tokens" in table
        assert len({len(line) for line in table.splitlines()}) == 1

    def test_the_words_lie_where_the_embeddings_say(self, family: str, vlm: VisionLanguageModel) -> None:
        if vlm.family.layout == "patches":
            return
        words, near = nearest_words(vlm, picture(0), list(KINDS))
        assert len(words) == len(near) == anatomy(vlm, picture(0)).image_tokens[0]
        assert set(words) <= set(KINDS) and (np.abs(near) <= 1 + 1e-5).all()

    def test_shuffled_patches_are_neighbours_as_in_the_connector(self, tmp_path: Path) -> None:
        vlm = pcvr.load(write("idefics3", tmp_path / "model"), device="cpu")
        connector = vlm.family.part(vlm.model, "connector")
        features = torch.randn(1, 16, 32)
        with torch.no_grad():
            before = connector(features)
            for patch in range(16):
                changed = features.clone()
                changed[0, patch] += 1
                moved = (connector(changed) - before).abs().sum(-1)[0] > 1e-4
                assert moved.nonzero()[:, 0].tolist() == [int(block_links((4, 4), 2)[:, patch].argmax())]

    def test_links(self) -> None:
        assert np.array_equal(block_links((3, 3), 1), np.eye(9))
        pairs = block_links((4, 4), 2)
        assert np.allclose(pairs.sum(1), 1) and np.flatnonzero(pairs[1]).tolist() == [2, 3, 6, 7]

    def test_patches_are_cut_and_compared(self) -> None:
        image = picture(0, 8)
        cut = patch_pixels(image, (2, 4))
        assert cut.shape == (2, 4, 4 * 2 * 3) and np.array_equal(cut[1, 2].reshape(4, 2, 3), image[4:, 4:6])
        flat = np.full((8, 8, 3), 90, np.uint8)
        flat[4:, 2:4] = image[4:, 2:4]
        assert busiest_patch(flat, (2, 4)) == (1, 1)
        alike = likeness(np.random.default_rng(0).normal(size=(3, 3, 5)), (1, 2))
        assert alike[1, 2] == pytest.approx(1) and (np.abs(alike) <= 1 + 1e-6).all()

    def test_a_word_of_two_tokens_is_refused(self, tiny: VisionLanguageModel) -> None:
        with pytest.raises(pcvr.PcvrError, match="not a single token"):
            nearest_words(tiny, picture(0), ["ball", "zebra"])

    def test_installed_models_can_be_loaded(self) -> None:
        assert "tiny-llava" in installed_models()
