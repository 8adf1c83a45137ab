"""What a model sees of a file, as its processor says: held to crops worked out by hand, and to changes outside."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image as PilImage

from pcvr import PcvrError, VisionLanguageModel, load
from pcvr.attacks import Seen
from pcvr.attacks.placing import seen_by
from pcvr.models.families import LLAVA, family_of
from pcvr.models.sight import Sight, Window
from pcvr.pretraining import tiny_llava
from pcvr.pretraining.parts import LEVELS
from tests.families import BUILDERS, missing_for, no_videos
from tests.pictures import noise

SIZES = ((64, 64), (120, 160), (160, 107), (75, 225), (250, 60))
HERE = [name for name in sorted(BUILDERS) if name.startswith("qwen") or not missing_for(name)]


def built(name: str) -> VisionLanguageModel:
    """A family's own processor with a tiny model."""
    with no_videos() as videos:
        model, processor = BUILDERS[name](videos=videos) if name.startswith("qwen") else BUILDERS[name]()
    processor.tokenizer.padding_side = "left"
    return VisionLanguageModel(name, model, processor, family_of(model))


@pytest.fixture(scope="module", params=HERE)
def vlm(request: pytest.FixtureRequest) -> VisionLanguageModel:
    return built(request.param)


def llava_with(**settings: Any) -> VisionLanguageModel:
    """A LLaVA whose picture processor has other settings."""
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

    processor = tiny_llava.build_processor(48)
    processor.image_processor = CLIPImageProcessorPil(**{**settings, **LEVELS})
    return VisionLanguageModel("other", None, processor, LLAVA)


@pytest.mark.parametrize(
    ("size", "window"),
    [
        ((480, 640), (0, 80, 480, 560)),
        ((300, 900), (0, 300, 300, 600)),
        ((500, 120), (190, 0, 310, 120)),
        ((96, 96), (0, 0, 96, 96)),
    ],
)
def test_a_llava_sees_the_square_in_the_middle(size: tuple[int, int], window: tuple[int, ...]) -> None:
    assert tuple(Sight(load("tiny-llava", device="cpu"), *size).window) == window


@pytest.mark.parametrize("size", SIZES)
def test_what_lies_outside_of_the_window_changes_nothing_and_what_lies_inside_does(
    vlm: VisionLanguageModel, size: tuple[int, int]
) -> None:
    sight, image = Sight(vlm, *size), noise(*size, 3)
    top, left, bottom, right = sight.window
    assert sight.whole == (sight.window == Window(0, 0, *size))
    before = sight.levels(image)
    reach = 12  # of a resizing filter at this scale, in pixels of the file
    outside = image.copy()
    outside[: max(0, top - reach)] ^= 255
    outside[bottom + reach :] ^= 255
    outside[:, : max(0, left - reach)] ^= 255
    outside[:, right + reach :] ^= 255
    assert np.array_equal(sight.levels(outside), before)
    assert sight.whole or (outside != image).any()
    for rows, columns in (((top, top + 8), (left, left + 8)), ((bottom - 8, bottom), (right - 8, right))):
        inside = image.copy()
        inside[slice(*rows), slice(*columns)] = 255
        assert np.abs(sight.levels(inside) - before).max() > 20


def test_levels_are_those_of_the_file(vlm: VisionLanguageModel) -> None:
    for size in SIZES:
        sight = Sight(vlm, *size)
        colour = np.array([10, 100, 250])
        flat = sight.levels(np.broadcast_to(colour, (*size, 3)).astype(np.uint8))
        assert np.abs(flat[sight.content] - colour).max() < 0.01
        assert not flat[~sight.content].any()
        assert sight.content.any((1, 2)).any() and 0.3 < sight.content[sight.areas > 0].mean() <= 1
        picture = sight.picture(noise(*size, 3))
        assert picture.dtype == np.uint8 and picture.ndim == 3


def test_the_picture_is_the_crop_at_the_models_size() -> None:
    image = np.asarray(PilImage.fromarray(noise(6, 8, 3)).resize((640, 480), PilImage.Resampling.BICUBIC))
    seen = Sight(load("tiny-llava", device="cpu"), 480, 640).picture(image)
    expected = PilImage.fromarray(image).crop((80, 0, 560, 480)).resize((96, 96), PilImage.Resampling.BICUBIC)
    assert np.abs(seen.astype(int) - np.asarray(expected)).max() <= 4


def test_looking_draws_no_random_number() -> None:
    vlm = built("llava")
    state = torch.random.get_rng_state()
    Sight(vlm, 50, 70).levels(noise(50, 70, 3))
    seen_by(vlm)
    assert torch.equal(torch.random.get_rng_state(), state)


class TestGeometry:
    @pytest.mark.parametrize("name", HERE)
    def test_of_every_family(self, name: str) -> None:
        cut = Seen(1.0, 1.0, "short side") if name == "llava" else Seen()
        assert seen_by(built(name)) == cut

    @pytest.mark.parametrize(
        ("settings", "seen"),
        [
            ({"size": {"shortest_edge": 64}, "crop_size": 48}, Seen(0.75, 0.75, "short side")),
            ({"size": {"height": 64, "width": 64}, "crop_size": 48}, Seen(0.75, 0.75, "own side")),
            ({"do_resize": False, "crop_size": {"height": 100, "width": 120}}, Seen(100, 120, "pixels")),
            ({"size": {"shortest_edge": 48}, "crop_size": {"height": 48, "width": 24}}, Seen(1, 0.5, "short side")),
            ({"size": {"height": 48, "width": 48}, "do_center_crop": False}, Seen()),
        ],
    )
    def test_of_other_settings(self, settings: dict[str, Any], seen: Seen) -> None:
        found = seen_by(llava_with(**settings))
        assert found.unit == seen.unit
        assert (found.height, found.width) == pytest.approx((seen.height, seen.width), rel=0.01)

    def test_padding_to_a_square_shows_all(self) -> None:
        from transformers.models.llava.image_processing_pil_llava import LlavaImageProcessorPil

        vlm = llava_with()
        vlm.processor.image_processor = LlavaImageProcessorPil(
            do_pad=True, size={"shortest_edge": 48}, crop_size=48, **LEVELS
        )
        assert seen_by(vlm) == Seen()
        sight = Sight(vlm, 60, 120)
        assert sight.whole and 0.4 < sight.content.mean() < 0.6

    def test_a_window_elsewhere_is_named(self, monkeypatch: pytest.MonkeyPatch) -> None:
        vlm = built("llava")
        whole = type(vlm).prepare
        monkeypatch.setattr(
            type(vlm), "prepare", lambda self, images, prompts: whole(self, [i[:40, :60] for i in images], prompts)
        )
        with pytest.raises(PcvrError, match="not a window in its middle"):
            seen_by(vlm)

    def test_windows_of_any_size(self) -> None:
        assert Seen(1, 1, "short side").window(480, 640) == (slice(0, 480), slice(80, 560))
        assert Seen(0.5, 0.25).window(8, 8) == (slice(2, 6), slice(3, 5))
        assert Seen(100, 100, "pixels").window(40, 200) == (slice(0, 40), slice(50, 150))
        assert Seen(1e-6, 1e-6).window(3, 3) == (slice(1, 2), slice(1, 2))

    @pytest.mark.parametrize("bad", [{"height": 0}, {"width": float("nan")}, {"unit": "inches"}, {"unit": ["px"]}])
    def test_bad_fields(self, bad: dict[str, Any]) -> None:
        with pytest.raises(PcvrError, match="of the visible part"):
            Seen(**bad)
