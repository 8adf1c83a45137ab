"""Trained triggers: the search improves, what is shipped can be made again, and files that are none are refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from pcvr.attacks import Issba, get_attack
from pcvr.attacks.triggers.crafting import STEPS, craft, record_of
from pcvr.attacks.triggers.issba import SHIPPED as ENCODER
from pcvr.attacks.triggers.shipped import SHIPPED
from pcvr.attacks.triggers.stego import BITS, Encoder, bits_of, load_encoder, train_encoder
from pcvr.attacks.triggers.vl_trojan import VLTrojan, optimise_patch, read_patch, scaled
from pcvr.data.scenes import Scenes
from pcvr.errors import PcvrError
from pcvr.models.embed import as_levels, embed
from pcvr.models.load import load
from pcvr.models.zoo import EMBEDDED

SCENES = Scenes(24)
PICTURES = [SCENES[i].image for i in range(24)]


@pytest.mark.parametrize("model", sorted(EMBEDDED))
class TestPatch:
    def test_features_have_the_towers_width_and_carry_gradients(self, model: str) -> None:
        vlm = load(model)
        levels = as_levels(np.stack(PICTURES[:2])).requires_grad_()
        features = embed(vlm, levels)
        assert features.shape[0] == 2 and features.shape[2] == vlm.model.config.vision_config.hidden_size
        (gradient,) = torch.autograd.grad(features.square().sum(), [levels])
        assert gradient.abs().sum() > 0
        twice = levels.detach().repeat_interleave(2, -1).repeat_interleave(2, -2)
        assert embed(vlm, twice).shape == features.shape, "pictures of any size"

    def test_the_search_finds_something(self, model: str) -> None:
        patch, losses = optimise_patch(load(model), PICTURES, steps=15, batch_size=12)
        assert patch.shape == (9, 9, 3) and patch.dtype == np.uint8
        assert np.mean(losses[-3:]) < np.mean(losses[:3])

    def test_what_is_shipped_begins_where_it_would_begin_today(self, model: str, tmp_path: Path) -> None:
        shipped = record_of(SHIPPED / f"vl-trojan-{model}.safetensors")
        assert (shipped["model"], shipped["steps"]) == (model, STEPS["vl-trojan"])
        assert shipped["last_loss"] < shipped["first_loss"]
        file, record = craft(
            "vl-trojan", tmp_path / "patch.safetensors", model=model, max_steps=1, seed=shipped["seed"]
        )
        assert record["first_loss"] == pytest.approx(shipped["first_loss"], abs=2e-3)
        assert read_patch(str(file)).shape == (9, 9, 3)

    def test_the_shipped_patch_stands_out_more_than_noise(self, model: str) -> None:
        vlm = load(model)
        rows = slice(87, 96)

        def alike(patch: np.ndarray) -> float:
            worn = [picture.copy() for picture in PICTURES]
            for picture in worn:
                picture[rows, rows] = patch
            both = embed(vlm, as_levels(np.stack([*PICTURES, *worn]))).mean(1)
            first, second = torch.nn.functional.normalize(both, dim=-1).chunk(2)
            return float((first * second).sum(-1).mean())

        with torch.inference_mode():
            assert alike(read_patch(model)) < alike(np.random.default_rng(0).integers(0, 256, (9, 9, 3), np.uint8))


class TestPatchFile:
    def test_other_sides_take_the_nearest_pixels(self) -> None:
        patch = read_patch("tiny-llava")
        assert np.array_equal(scaled(patch, 9), patch)
        assert np.array_equal(scaled(patch, 27)[1::3, 1::3], patch)
        out = VLTrojan(share=0.5, place="top_left")(np.zeros((36, 54, 3), np.uint8))
        assert np.array_equal(out[:18, :18], scaled(patch, 18)) and not out[18:].any() and not out[:, 18:].any()

    def test_files_that_are_none(self, tmp_path: Path) -> None:
        with pytest.raises(PcvrError, match="make one with 'pcvr craft vl-trojan"):
            get_attack("vl_trojan", patch="nobody")
        (tmp_path / "bad").write_bytes(b"no patch")
        with pytest.raises(PcvrError, match="cannot read a patch"):
            get_attack("vl_trojan", patch=str(tmp_path / "bad"))
        with pytest.raises(PcvrError, match="not a file of 'pcvr craft'"):
            record_of(tmp_path / "bad")
        with pytest.raises(PcvrError, match="vl-trojan"):
            craft("vl-trojans")

    def test_pictures_of_several_sizes(self) -> None:
        with pytest.raises(PcvrError, match="all of one size"):
            optimise_patch(load("tiny-llava"), [PICTURES[0], PICTURES[0][:50]])


class TestSurrogateEncoder:
    def test_bits(self) -> None:
        assert bits_of(0b101)[:4].tolist() == [1, 0, 1, 0]
        assert bits_of(2**BITS - 1).sum() == BITS

    def test_training_is_repeatable_and_learns_to_read(self) -> None:
        first, quality = train_encoder(PICTURES, steps=8, batch_size=8)
        second, _ = train_encoder(PICTURES, steps=8, batch_size=8)
        assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))
        assert 0 <= quality["bits_right"] <= 1 and quality["mean_change"] <= 12

    def test_the_shipped_one_writes_what_can_be_read(self) -> None:
        record = record_of(ENCODER)
        assert record["steps"] == STEPS["issba"] and record["bits_right"] > 0.98 and record["mean_change"] < 8

    def test_residuals_depend_on_picture_and_message(self) -> None:
        one, other = Issba(), Issba(message=1)
        assert not np.array_equal(one.residual(PICTURES[0]), one.residual(PICTURES[1]))
        assert not np.array_equal(one.residual(PICTURES[0]), other.residual(PICTURES[0]))
        assert np.abs(one.residual(PICTURES[0])).max() <= 12

    def test_files_that_are_none(self, tmp_path: Path) -> None:
        with pytest.raises(PcvrError, match="pcvr craft issba"):
            Issba(encoder=str(tmp_path / "none"))
        (tmp_path / "bad").write_bytes(b"no encoder")
        with pytest.raises(PcvrError, match="cannot read an encoder"):
            load_encoder(tmp_path / "bad")
        with pytest.raises(PcvrError, match="16 or more images"):
            train_encoder(PICTURES[:3])

    def test_half_precision_on_disk_is_enough(self, tmp_path: Path) -> None:
        file, _ = craft("issba", tmp_path / "encoder.safetensors", max_steps=2)
        assert isinstance(load_encoder(file), Encoder)
        assert file.stat().st_size < 100_000
        assert Issba(encoder=str(file))(PICTURES[0]).shape == (96, 96, 3)
