"""Views and parts of a batch without a data set, for every layout of images."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

import pcvr
from pcvr import PatchView, PcvrError, TrainConfig, VisionLanguageModel
from pcvr.defenses.context import TrainingContext
from pcvr.models.encode import Batch, EncodedData, collate, encode_samples
from pcvr.training.finetune import with_adapter
from pcvr.training.loop_context import LoopContext
from tests.families import BUILDERS, missing_for, write
from tests.models.test_families import SAMPLES, without_videos
from tests.own_loops import collator, rows_of
from tests.tiny import Numbers

INDEX = [5, 0, 9, 3, 7, 1]


@pytest.fixture(scope="module", params=sorted(BUILDERS))
def family(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> VisionLanguageModel:
    """A model of each architecture with an adapter."""
    missing = missing_for(request.param)
    if missing and request.param.startswith("qwen"):
        vlm = without_videos(request.param)
    elif missing:
        pytest.skip(f"{request.param} needs {missing} for the video part of its processor")
    else:
        vlm = pcvr.load(write(request.param, tmp_path_factory.mktemp("loops") / "model"), device="cpu")
    return with_adapter(vlm, TrainConfig(lora_r=2, lora_alpha=2))


def plain_batch(vlm: VisionLanguageModel) -> Batch:
    """Six samples with pictures of three shapes, as a collator of the family makes them."""
    return collate(encode_samples(vlm, SAMPLES), vlm.tokenizer.pad_token_id)


def test_a_part_says_what_the_whole_says(family: VisionLanguageModel) -> None:
    run = LoopContext(family)
    batch = run.take(plain_batch(family), INDEX)
    whole = run.forward_no_grad(batch)
    rows = torch.tensor([1, 4, 5])
    part = run.part(batch, rows)
    assert part["index"].tolist() == [0, 7, 1] and part.keys() == batch.keys()
    assert torch.allclose(run.forward_no_grad(part).logits, whole.of(rows).logits, atol=1e-3)
    reordered = run.forward_no_grad(run.part(batch, torch.tensor([4, 1])))
    assert torch.allclose(reordered.likelihood(), whole.likelihood()[[4, 1]], atol=1e-4)


@pytest.mark.parametrize("level", ["pixels", "features"])
@pytest.mark.parametrize("operator", ["swap", "noise"])
def test_a_view_changes_every_image_and_nothing_else(family: VisionLanguageModel, level: str, operator: str) -> None:
    run = LoopContext(family)
    batch = run.take(plain_batch(family), INDEX)
    before = {name: value.clone() for name, value in batch.items()}
    view = PatchView(operator, 1.0, patch=8, level=level)
    rows = torch.tensor([0, 2, 3])
    seen = run.view(batch, view, rows)
    part = run.part(batch, rows)
    images = {"pixel_values", "features"}
    assert all(torch.equal(seen[name], part[name]) for name in part.keys() - images)
    assert all(torch.equal(batch[name], before[name]) for name in before), "the batch itself stays as it is"
    if "features" not in seen:  # level pixels, or images of several sizes
        assert seen["pixel_values"].shape == part["pixel_values"].shape
        assert not torch.equal(seen["pixel_values"], part["pixel_values"])
    one, other = run.forward_no_grad(part), run.forward_no_grad(seen)
    assert (one.sample_sum((one.logits - other.logits).abs().amax(1)) > 1e-3).all()
    again = LoopContext(family).view(batch, view, rows)
    assert torch.equal(run.forward_no_grad(again).logits, other.logits)


def test_padding_tiles_stay_zero(tmp_path: Path) -> None:
    vlm = with_adapter(pcvr.load(write("idefics3 in tiles", tmp_path / "m"), device="cpu"), TrainConfig(lora_r=2))
    batch = LoopContext(vlm).take(plain_batch(vlm), INDEX)
    padding = (batch["pixel_values"] == 0).flatten(2).all(2)
    assert padding.any()
    for level in ("pixels", "features"):
        seen = LoopContext(vlm).view(batch, PatchView("swap", 1.0, patch=8, level=level))
        assert torch.equal((seen["pixel_values"] == 0).flatten(2).all(2), padding)


@pytest.fixture
def loop(tiny: VisionLanguageModel) -> LoopContext:
    return LoopContext(with_adapter(tiny.copy(), TrainConfig(lora_r=2)))


def numbers(vlm: VisionLanguageModel, n: int = 6) -> Batch:
    return collator(vlm)(rows_of(vlm, Numbers(n)))


@pytest.mark.parametrize("level", ["pixels", "features"])
@pytest.mark.parametrize("operator", ["swap", "mean", "noise", "shuffle", "swap_within"])
def test_one_batch_that_is_all_data_has_the_views_of_finetune(loop: LoopContext, operator: str, level: str) -> None:
    encoded = EncodedData(loop.vlm, Numbers(6))
    if level == "features":
        assert encoded.keep_features()
    home = TrainingContext(loop.vlm, encoded, 10, 0)
    order = torch.tensor([3, 0, 5, 1, 4, 2])
    view = PatchView(operator, 0.6, level=level)
    own = loop.take(loop.part(numbers(loop.vlm), order) | {"index": order})
    rows = torch.tensor([0, 2, 3])
    for _ in range(3):
        seen = loop.forward_no_grad(loop.view(own, view, rows))
        expected = home.forward_no_grad(home.view(encoded.batch(order.tolist()), view, rows))
        assert torch.allclose(seen.logits, expected.logits, atol=1e-4)


def test_patches_come_from_another_image(loop: LoopContext) -> None:
    batch = loop.take(numbers(loop.vlm, 3), [4, 2, 8])
    for _ in range(10):
        seen = loop.view(batch, PatchView("swap", 1.0))["pixel_values"]
        found = (seen[:, None] == batch["pixel_values"][None]).flatten(2).all(2)  # [B, donors]
        assert found.sum(1).tolist() == [1, 1, 1] and not found.diagonal().any()


def test_a_batch_of_one_takes_patches_from_the_batch_before(loop: LoopContext) -> None:
    swap = PatchView("swap", 1.0)
    alone = loop.take(numbers(loop.vlm, 1), [0])
    with pytest.raises(PcvrError, match="got a batch of one sample: give micro-batches of at least 2"):
        loop.view(alone, swap)
    assert loop.view(alone, PatchView("shuffle"))["pixel_values"].shape == alone["pixel_values"].shape
    several = loop.take(numbers(loop.vlm, 4), [1, 2, 3, 4])
    seen = loop.view(loop.take(numbers(loop.vlm, 1), [0]), swap)["pixel_values"]
    assert (seen == several["pixel_values"]).flatten(1).all(1).any()


class TestBaseModel:
    def test_the_adapter_goes_off(self, tiny: VisionLanguageModel, loop: LoopContext) -> None:
        batch = loop.take(numbers(loop.vlm), INDEX)
        for name, weights in loop.vlm.model.named_parameters():
            if "lora_B" in name:
                torch.nn.init.normal_(weights)
        base = loop.base_forward_no_grad(batch).logits
        assert torch.allclose(base, LoopContext(tiny, reference=tiny).forward_no_grad(batch).logits, atol=1e-5)
        assert not torch.allclose(base, loop.forward_no_grad(batch).logits, atol=1e-2)

    def test_a_reference_speaks_for_it(self, tiny: VisionLanguageModel) -> None:
        changed = tiny.copy()
        for weights in changed.model.parameters():
            weights.data.mul_(1.5)
        run = LoopContext(changed, reference=tiny)
        batch = run.take(numbers(tiny), INDEX)
        expected = LoopContext(tiny, reference=tiny).forward_no_grad(batch)
        assert torch.equal(run.base_forward_no_grad(batch).logits, expected.logits)
        assert not torch.allclose(run.base_forward_no_grad(batch).logits, run.forward_no_grad(batch).logits)

    def test_neither_is_one_sentence(self, tiny: VisionLanguageModel) -> None:
        with pytest.raises(PcvrError, match="no adapter that could be turned off, and no reference is given"):
            LoopContext(tiny)


def test_looking_leaves_every_module_in_its_mode(loop: LoopContext) -> None:
    batch = loop.take(numbers(loop.vlm), INDEX)
    model = loop.vlm.model.train()
    tower = loop.vlm.family.part(model, "tower").eval()
    loop.forward_no_grad(batch)
    loop.base_forward_no_grad(batch)
    assert model.training and not any(module.training for module in tower.modules())


def test_the_state_goes_through_a_file(loop: LoopContext, tmp_path: Path) -> None:
    loop.state.update(table={3: 0.5}, numbers=[torch.arange(3), 1.5], name="x")
    loop.log["suspicious"], loop.step = 0.25, 7
    drawn = torch.rand(5, generator=loop.generator)
    save_file(loop.state_dict(), tmp_path / "state.safetensors")
    expected = torch.rand(5, generator=loop.generator)
    other = LoopContext(loop.vlm, seed=3)
    other.load_state_dict(load_file(tmp_path / "state.safetensors"))
    assert torch.equal(torch.rand(5, generator=other.generator), expected) and not torch.equal(drawn, expected)
    assert other.state["table"] == {3: 0.5} and other.state["name"] == "x"
    assert torch.equal(other.state["numbers"][0], torch.arange(3)) and other.state["numbers"][1] == 1.5
    assert other.log == {"suspicious": 0.25} and other.step == 7
    for bad in ({}, {"tree": torch.zeros(3, dtype=torch.uint8)}, {"a": torch.zeros(1)}):
        with pytest.raises(PcvrError, match="the saved state cannot be read"):
            other.load_state_dict(bad)


def test_each_process_goes_on_with_its_own_views(loop: LoopContext, monkeypatch: pytest.MonkeyPatch) -> None:
    own, other = torch.Generator().manual_seed(1), torch.Generator().manual_seed(2)
    states = torch.stack([own.get_state(), other.get_state()])
    monkeypatch.setattr("pcvr.utils.distributed.gather", lambda values: states)
    saved = loop.state_dict()
    with pytest.raises(PcvrError, match="the saved state is of 2 processes, and this training has 1"):
        loop.load_state_dict(saved)
    monkeypatch.setattr(LoopContext, "world", 2)
    monkeypatch.setattr(LoopContext, "rank", 1)
    loop.load_state_dict(saved)
    assert torch.equal(torch.rand(3, generator=loop.generator), torch.rand(3, generator=other))


def test_a_defence_that_reads_all_data_is_told_so(loop: LoopContext) -> None:
    for read in (lambda: len(loop.data), lambda: loop.data.row(0), lambda: list(loop.batches([0], 1))):
        with pytest.raises(PcvrError, match="this defence reads the whole data set"):
            read()


BAD: dict[str, tuple[Any, str]] = {
    "no images": (lambda b: {k: v for k, v in b.items() if k != "pixel_values"}, "the batch lacks pixel_values and"),
    "no labels": (lambda b: {"input_ids": b["input_ids"]}, "the batch lacks labels and pixel_values"),
    "nothing": (lambda b: {}, "lacks input_ids and labels and pixel_values and has nothing"),
    "nothing to learn": (lambda b: b | {"labels": torch.full_like(b["labels"], -100)}, "labels .* are all -100"),
    "two images each": (
        lambda b: b | {"pixel_values": b["pixel_values"].repeat(2, 1, 1, 1)},
        "pixel_values has 12 rows for 6 samples, which cannot be attributed",
    ),
    "tiles": (lambda b: b | {"pixel_values": b["pixel_values"][:, None]}, "is not the layout of llava"),
    "Qwen's": (lambda b: b | {"image_grid_thw": torch.ones(6, 3)}, "with image_grid_thw, which is not the layout"),
    "packed": (lambda b: b | {"cu_seq_lens_q": torch.arange(3)}, "the batch is packed"),
    "packed by positions": (
        lambda b: b | {"position_ids": torch.arange(b["input_ids"].shape[1]).remainder(4).expand(6, -1)},
        "the batch is packed",
    ),
    "other labels": (lambda b: b | {"labels": b["labels"][:, 1:]}, r"input_ids \(6, \d+\) and labels \(6, \d+\)"),
    "a stranger": (lambda b: b | {"extra": torch.zeros(5, 2)}, "extra has 5 rows for 6 samples"),
}  # fmt: skip


@pytest.mark.parametrize("what", BAD)
def test_batches_that_are_refused(loop: LoopContext, what: str) -> None:
    spoil, said = BAD[what]
    with pytest.raises(PcvrError, match=said) as caught:
        loop.take(spoil(numbers(loop.vlm)), INDEX)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("index", [[1, 2], [0.0] * 6, [True] * 6, [-1] * 6, ["a"] * 6, torch.zeros(6, 1), 3])
def test_indices_that_are_refused(loop: LoopContext, index: Any) -> None:
    with pytest.raises(PcvrError, match="give 6 whole numbers from 0"):
        loop.take(numbers(loop.vlm), index)


def test_a_batch_without_an_index(loop: LoopContext) -> None:
    with pytest.raises(PcvrError, match="the batch has no index of its samples: give index="):
        loop.take(numbers(loop.vlm))


def test_samples_without_a_label_are_left_out(loop: LoopContext) -> None:
    batch = numbers(loop.vlm)
    batch["labels"][1] = -100
    left = loop.take(batch | {"names": ["a"] * 6, "padding": batch["attention_mask"].sum()}, INDEX)
    assert left["index"].tolist() == [5, 9, 3, 7, 1] and len(left["pixel_values"]) == 5
    assert "names" not in left and "padding" not in left


def test_positions_of_padding_are_not_packing(loop: LoopContext) -> None:
    batch = numbers(loop.vlm)
    mask = batch["attention_mask"]
    assert (mask == 0).any()
    right = (mask.cumsum(1) - 1) * mask
    assert len(loop.take(batch | {"position_ids": right}, INDEX)["index"]) == 6
    left = (mask.flip(1).cumsum(1) - 1).clamp_min(0)
    flipped = {"attention_mask": mask.flip(1), "position_ids": left}
    assert len(loop.take(batch | flipped, INDEX)["index"]) == 6
