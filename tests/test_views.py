"""The perturbed view: what changes, how much of it, and that the tower sees it."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from pcvr import PatchView, PcvrError, TrainConfig, VisionLanguageModel
from pcvr.defenses.context import TrainingContext
from pcvr.models.encode import EncodedData
from pcvr.models.tower import tower_features
from pcvr.training.finetune import with_adapter
from pcvr.views import OPERATORS, choose_patches
from tests.tiny import Numbers

PATCHES = st.integers(1, 5)
SIDES = st.integers(1, 23)
SHARES = st.floats(0.01, 1)
SEEDS = st.integers(0, 2**31)


def pictures(batch: int, height: int, width: int, seed: int = 0) -> Tensor:
    """``[B, 3, H, W]`` whose values are all different, so that a pixel tells where it came from."""
    count = batch * 3 * height * width
    order = torch.randperm(count, generator=torch.Generator().manual_seed(seed))
    return order.view(batch, 3, height, width).float() / count


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def changed_patches(before: Tensor, after: Tensor, patch: int) -> Tensor:
    """Which patches differ anywhere: bool ``[B, rows, columns]``, by plain loops."""
    batch, _, height, width = before.shape
    found = torch.zeros(batch, height // patch, width // patch, dtype=torch.bool)
    for b in range(batch):
        for r in range(height // patch):
            for c in range(width // patch):
                window = (b, slice(None), slice(r * patch, (r + 1) * patch), slice(c * patch, (c + 1) * patch))
                found[b, r, c] = bool((before[window] != after[window]).any())
    return found


@given(st.sampled_from(OPERATORS), st.integers(2, 3), SIDES, SIDES, PATCHES, SHARES, SEEDS)
@settings(max_examples=120, deadline=None)
def test_as_many_patches_change_as_the_share_says_and_nothing_else_does(
    operator: str, batch: int, height: int, width: int, patch: int, fraction: float, seed: int
) -> None:
    before = pictures(batch, height, width, seed % 7)
    kept = before.clone()
    view = PatchView(operator, fraction, patch)
    rows, columns = height // patch, width // patch
    if rows == 0 or columns == 0:
        with pytest.raises(PcvrError, match="smaller than the patch"):
            view(before, generator(seed))
        return
    after = view(before, generator(seed))
    assert torch.equal(before, kept), "the input was written to"
    assert after.shape == before.shape
    assert after.dtype == before.dtype
    count = max(1, round(fraction * (rows * columns)))
    if operator in ("shuffle", "swap_within"):
        # A lone patch has nowhere to go: two change places, or none where the picture is a single patch.
        count = 0 if rows * columns == 1 else max(2, count)
    if (operator, patch, rows * columns) == ("mean", 1, 1):
        count = 0  # one pixel is its own mean
    changed = changed_patches(before, after, patch)
    assert changed.flatten(1).sum(1).tolist() == [count] * batch
    assert torch.equal(after[..., rows * patch :, :], before[..., rows * patch :, :])
    assert torch.equal(after[..., columns * patch :], before[..., columns * patch :])
    assert torch.equal(after, view(before, generator(seed))), "the same generator gave another view"


@given(st.integers(1, 4), st.integers(1, 30), SHARES, SEEDS, st.integers(1, 3))
@settings(max_examples=60, deadline=None)
def test_choose_patches(batch: int, patches: int, fraction: float, seed: int, fewest: int) -> None:
    chosen = choose_patches(batch, patches, fraction, generator(seed), fewest)
    assert chosen.shape == (batch, patches)
    assert chosen.sum(1).tolist() == [min(patches, max(fewest, round(fraction * patches)))] * batch


def test_every_patch_is_chosen_about_equally_often() -> None:
    hits = choose_patches(4000, 10, 0.3, generator()).float().mean(0)
    assert (hits - 0.3).abs().max() < 0.03


def test_other_seeds_and_other_rows_give_other_views() -> None:
    before = pictures(2, 20, 20)
    view = PatchView("mean", 0.5, 5)
    first = view(before, generator(1))
    assert not torch.equal(first, view(before, generator(2)))
    same = before[:1].expand(2, -1, -1, -1)
    alike = view(same, generator(1))
    assert not torch.equal(alike[0], alike[1])


class TestOperators:
    def test_swap_takes_the_donor_at_the_same_place(self) -> None:
        before, donors = pictures(2, 12, 16), -1 - pictures(2, 12, 16)
        after = PatchView("swap", 0.5, 4)(before, generator(), donors)
        assert torch.equal(after[after < 0], donors[after < 0])
        assert torch.equal(after[after >= 0], before[after >= 0])
        assert (after < 0).float().mean() == 0.5

    def test_swap_without_donors_takes_the_previous_picture_of_the_batch(self) -> None:
        before = pictures(3, 8, 8)
        after = PatchView("swap", 1.0, 4)(before, generator())
        assert torch.equal(after, before[[2, 0, 1]])

    def test_a_larger_donor_is_cut_to_size(self) -> None:
        before, donors = pictures(1, 8, 8), pictures(1, 12, 10, seed=1)
        after = PatchView("swap", 1.0, 4)(before, generator(), donors)
        assert torch.equal(after, donors[..., :8, :8])

    def test_a_lone_picture_needs_a_donor(self) -> None:
        with pytest.raises(PcvrError, match="needs another image"):
            PatchView("swap", 0.5, 4)(pictures(1, 8, 8), generator())

    def test_mean_fills_with_each_pictures_own_mean_colour(self) -> None:
        before = pictures(2, 8, 8)
        after = PatchView("mean", 0.5, 4)(before, generator())
        changed = after != before
        expected = before.mean((2, 3), keepdim=True).expand_as(before)
        assert torch.equal(after[changed], expected[changed])

    def test_noise_is_standard_normal(self) -> None:
        after = PatchView("noise", 1.0, 8)(torch.zeros(2, 3, 64, 64), generator())
        assert abs(float(after.mean())) < 0.03
        assert abs(float(after.std()) - 1) < 0.03

    def test_shuffle_keeps_every_patch_and_moves_the_chosen_ones(self) -> None:
        before = pictures(2, 12, 12)
        after = PatchView("shuffle", 0.7, 4)(before, generator())

        def tiles(picture: Tensor) -> list[Tensor]:
            return [picture[:, r : r + 4, c : c + 4] for r in (0, 4, 8) for c in (0, 4, 8)]

        for one, other in zip(before, after, strict=True):
            old, new = tiles(one), tiles(other)
            origin = [next(k for k, tile in enumerate(old) if torch.equal(tile, each)) for each in new]
            assert sorted(origin) == list(range(9)), "a patch was lost or doubled"
            assert sum(origin[k] != k for k in range(9)) == round(0.7 * 9)


@pytest.mark.parametrize("fraction", [0, -0.1, 1.01, float("nan"), float("inf")])
def test_a_share_outside_its_range_is_refused(fraction: float) -> None:
    with pytest.raises(PcvrError, match=r"fraction must lie in \(0, 1\]"):
        PatchView(fraction=fraction)


def test_bad_options_are_refused() -> None:
    with pytest.raises(PcvrError, match="did you mean 'shuffle'"):
        PatchView("shufle")
    with pytest.raises(PcvrError, match="patch must be"):
        PatchView(patch=0)
    with pytest.raises(PcvrError, match=r"patch is 2\.5"):
        PatchView(patch=2.5)  # type: ignore[arg-type]


class TestInARun:
    """The view that a defence asks its run for."""

    @pytest.fixture
    def run(self, tiny: VisionLanguageModel) -> TrainingContext:
        vlm = with_adapter(tiny.copy(), TrainConfig())
        return TrainingContext(vlm=vlm, data=EncodedData(vlm, Numbers()), steps=3, seed=0)

    @pytest.mark.parametrize("kept", [True, False])
    def test_the_patch_view_reaches_the_tower(self, run: TrainingContext, kept: bool) -> None:
        original = run.data.batch([0, 1, 2])
        if kept:
            assert run.data.keep_features()
            original = run.data.batch([0, 1, 2])
        seen = run.view(original, PatchView())
        shown = "features" if kept else "pixel_values"
        assert seen[shown].shape == original[shown].shape
        assert all(torch.equal(seen[k], original[k]) for k in original if k != shown)
        given = [b[shown] for b in (original, seen)]
        features = given if kept else [tower_features(run.vlm, p) for p in given]
        logits = [run.forward(b).logits for b in (original, seen)]
        assert ((features[0] - features[1]).flatten(1).norm(dim=1) > 0.1).all()
        assert ((logits[0] - logits[1]).abs().amax(1) > 1e-4).all()

    def test_some_rows_only(self, run: TrainingContext) -> None:
        original = run.data.batch([3, 1, 4, 2])
        seen = run.view(original, PatchView("mean"), torch.tensor([1, 3]))
        assert seen["index"].tolist() == [1, 2]
        assert seen["input_ids"].shape[0] == len(seen["pixel_values"]) == 2
        same = (seen["pixel_values"] == original["pixel_values"][[1, 3]]).flatten(1).float().mean(1)
        assert torch.allclose(same, torch.full((2,), 4 / 9), atol=0.05), "five patches of nine change"

    def test_the_seed_of_the_run_decides(self, run: TrainingContext, tiny: VisionLanguageModel) -> None:
        views = []
        for seed in (0, 0, 1):
            other = TrainingContext(vlm=run.vlm, data=run.data, steps=3, seed=seed)
            views.append(other.view(other.data.batch([0, 1]), PatchView())["pixel_values"])
        assert torch.equal(views[0], views[1])
        assert not torch.equal(views[0], views[2])

    def test_nobody_is_its_own_donor(self, tiny: VisionLanguageModel) -> None:
        data = EncodedData(tiny, Numbers(2))
        run = TrainingContext(tiny, data, steps=1, seed=0)
        batch = data.batch([0, 1])
        for _ in range(8):
            seen = run.view(batch, PatchView("swap", 1.0))
            assert torch.equal(seen["pixel_values"], batch["pixel_values"].flip(0))
