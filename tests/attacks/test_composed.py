"""Triggers made of others: the contract of all triggers, patch views without a second picture, patches in a grid."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from pcvr.attacks import BadNets, Blended, ImageTrigger, Seen, Sig, VLTrojan
from pcvr.attacks.composed import OPERATORS, Copies, InTurn, Perturbed
from pcvr.attacks.placing import innermost, moved
from pcvr.errors import PcvrError
from pcvr.views import PatchView
from tests.attacks.contract import kept_by
from tests.pictures import noise

batches = st.tuples(st.integers(1, 3), st.integers(1, 40), st.integers(1, 40)).flatmap(
    lambda shape: arrays(np.uint8, (*shape, 3))
)
views = st.builds(
    Perturbed,
    operator=st.sampled_from(OPERATORS),
    fraction=st.floats(0.01, 1),
    share=st.floats(0.02, 1),
    seed=st.integers(0, 9),
)
patches = st.builds(BadNets, size=st.integers(1, 3), strength=st.floats(0.1, 1), pattern=st.just("checkerboard"))
first = st.one_of(st.builds(Sig), st.builds(Blended))
triggers = st.one_of(views, st.builds(InTurn, first, views), st.builds(Copies, patches, st.integers(2, 5)))


@settings(max_examples=120, deadline=None)
@given(batch=batches, trigger=triggers)
def test_any_size_keeps_the_contract(batch: np.ndarray, trigger: ImageTrigger) -> None:
    try:
        out = kept_by(trigger, batch)
    except PcvrError as error:
        assert isinstance(trigger, Copies) and "fit" in str(error)
        return
    assert np.array_equal(out, copy.deepcopy(trigger)(batch)), "the fields alone decide"


@settings(max_examples=60, deadline=None)
@given(batch=batches, view=views)
def test_a_view_keeps_the_levels_of_the_image(batch: np.ndarray, view: Perturbed) -> None:
    for image, out in zip(batch, view(batch), strict=True):
        if view.operator == "mean":
            mean = np.rint(image[: _whole(image, view)[0], : _whole(image, view)[1]].mean((0, 1)))
            assert ((out == image) | (out == mean)).all(), "nothing wraps, nothing else appears"
        elif view.operator == "shuffle":
            assert np.array_equal(np.sort(out.reshape(-1, 3), axis=0), np.sort(image.reshape(-1, 3), axis=0))


def _whole(image: np.ndarray, view: Perturbed) -> tuple[int, int]:
    side = max(1, int(view.share * min(image.shape[:2]) + 0.5))
    return image.shape[0] // side * side, image.shape[1] // side * side


class TestPerturbed:
    def test_it_is_the_defences_view(self) -> None:
        image = noise(96, 96, 3)
        trigger = Perturbed()
        generator = torch.Generator().manual_seed(trigger._seed_of(image))
        pixels = torch.tensor(image).permute(2, 0, 1).double()[None]
        expected = PatchView("shuffle", 0.6, 16)(pixels, generator)[0].permute(1, 2, 0).numpy()
        assert np.array_equal(trigger(image), expected)
        blocks = (trigger(image) != image).reshape(6, 16, 6, 16, 3).any((1, 3, 4))
        assert blocks.sum() == round(0.6 * 36)

    def test_image_and_seed_decide(self) -> None:
        one, other = noise(48, 48, 3), noise(48, 48, 3, seed=1)
        moved_of = [Perturbed("mean")(image) != image for image in (one, other)]
        assert not np.array_equal(*moved_of), "each image has its own patches"
        assert not np.array_equal(Perturbed(seed=1)(one), Perturbed()(one))
        assert np.array_equal(Perturbed()(np.asfortranarray(one)), Perturbed()(one)), "levels, not the order of bytes"

    def test_a_patch_in_pixels(self) -> None:
        image = noise(40, 40, 3)
        assert np.array_equal(
            Perturbed(patch=20, fraction=1)(image), np.asarray(Perturbed(share=0.5, fraction=1)(image))
        )
        with pytest.raises(PcvrError, match="smaller than the patch of 41 px"):
            Perturbed(patch=41)(image)

    @pytest.mark.parametrize(
        "options",
        [{"operator": "swap"}, {"operator": "noise"}, {"fraction": 0}, {"patch": 0}, {"share": 1.5}, {"seed": -1}],
    )
    def test_options_out_of_range(self, options: dict[str, Any]) -> None:
        with pytest.raises(PcvrError, match="|".join(options)):
            Perturbed(**options)


class TestCopies:
    def test_by_hand(self) -> None:
        out = Copies(BadNets(size=2), 3)(np.zeros((12, 18, 3), np.uint8))
        rows, columns = [1, 2, 5, 6, 9, 10], [2, 3, 8, 9, 14, 15]
        expected = np.zeros((12, 18, 3), np.uint8)
        expected[np.ix_(rows, columns)] = 255
        assert np.array_equal(out, expected)

    @settings(max_examples=80, deadline=None)
    @given(count=st.integers(2, 6), side=st.integers(1, 8), height=st.integers(8, 60), width=st.integers(8, 60))
    def test_copies_never_overlap_or_leave_the_image(self, count: int, side: int, height: int, width: int) -> None:
        trigger = Copies(BadNets(size=side), count)
        if count * side > min(height, width):
            with pytest.raises(PcvrError, match="fit"):
                trigger.windows(height, width)
            return
        covered = np.zeros((height, width), int)
        for rows, columns in trigger.windows(height, width):
            covered[rows, columns] += 1
        assert covered.max() == 1 and covered.sum() == count**2 * side**2

    def test_the_grid_covers_what_the_model_sees(self) -> None:
        patch = BadNets(size=3, place="seen_centre", seen=Seen(1, 1, "short side"))
        out = Copies(patch, 2)(np.zeros((20, 60, 3), np.uint8))
        columns = np.flatnonzero(out.any((0, 2)))
        assert columns.min() >= 20 and columns.max() < 40
        assert Copies(BadNets(size=3), 2)(np.zeros((20, 60, 3), np.uint8))[:, :20].any()

    def test_an_optimised_patch_is_copied_as_it_is(self) -> None:
        image = np.zeros((96, 96, 3), np.uint8)
        patch = VLTrojan()(image)[-9:, -9:]
        trigger = Copies(VLTrojan(), 4)
        assert all(np.array_equal(trigger(image)[window], patch) for window in trigger.windows(96, 96))

    def test_what_has_no_patch(self) -> None:
        with pytest.raises(PcvrError, match="'Sig' has no patch to copy"):
            Copies(Sig())  # type: ignore[arg-type]
        with pytest.raises(PcvrError, match="count is 1"):
            Copies(BadNets(), 1)


def test_a_wrapped_patch_can_be_moved() -> None:
    seen = Seen()
    trigger = InTurn(Copies(BadNets(place="top_left")), Perturbed())
    there = moved(trigger, "seen_top_left", seen)
    assert innermost(there) == BadNets(place="seen_top_left", seen=seen) and there.then == trigger.then
    assert moved(Sig(), "seen_centre", seen) == Sig() and moved(None, "seen_centre", seen) is None
