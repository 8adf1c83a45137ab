"""From samples to tensors: where the labels are, what the padding is, and features in place of pictures."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from pcvr import PatchView, PcvrError, Sample, TrainConfig, VisionLanguageModel
from pcvr.models.encode import IGNORE, EncodedData, collate, encode_samples
from pcvr.models.forward import answer_logits, batches
from pcvr.models.tower import fed_tower, tower_features
from pcvr.training.finetune import with_adapter
from tests.tiny import Numbers


@pytest.fixture
def vlm(tiny: VisionLanguageModel) -> VisionLanguageModel:
    """A copy that a test may change."""
    return tiny.copy()


def sample(answer: str = "a red ball", prompt: str = "describe the image.", side: int = 48) -> Sample:
    return Sample("x", np.full((side, side, 3), 90, dtype=np.uint8), prompt, answer, (answer,))


def test_only_the_answer_and_its_end_have_labels(tiny: VisionLanguageModel) -> None:
    tokenizer = tiny.tokenizer
    rows = encode_samples(tiny, [sample("a red ball"), sample("yes", "what is there?"), sample("")])
    for row, said in zip(rows, ("a red ball", "yes", ""), strict=True):
        told = row["labels"] != IGNORE
        assert row["labels"][told][-1] == tokenizer.eos_token_id
        assert tokenizer.decode(row["labels"][told][:-1]) == said
        assert torch.equal(row["input_ids"][told], row["labels"][told])
        assert told.int().diff().clamp_max(0).sum() == 0, "labels form one run at the end"
        assert tokenizer.pad_token_id not in row["input_ids"]
        prompt = tokenizer.decode(row["input_ids"][~told])
        assert ("describe" in prompt) == (said != "yes")


def test_a_lone_sample_is_encoded_as_in_company(tiny: VisionLanguageModel) -> None:
    samples = [sample("a red ball"), sample("yes", "what?"), sample("two cats .", side=70)]
    for one, each in zip(encode_samples(tiny, samples), samples, strict=True):
        other = encode_samples(tiny, [each])[0]
        assert one.keys() == other.keys()
        assert all(torch.equal(one[k], other[k]) for k in one)


def test_training_and_answering_see_the_same_prompt(tiny: VisionLanguageModel) -> None:
    row = encode_samples(tiny, [sample()])[0]
    inputs = tiny.encode([sample().image], [sample().prompt])
    prompt = row["input_ids"][row["labels"] == IGNORE]
    assert torch.equal(prompt, inputs["input_ids"][0])
    assert torch.equal(row["pixel_values"], inputs["pixel_values"][0])


def test_an_answer_must_not_bring_an_image_token(tiny: VisionLanguageModel) -> None:
    with pytest.raises(PcvrError, match=r"the answer .* holds the image token"):
        encode_samples(tiny, [sample("see <image> here")])


def test_collate_pads_on_the_right_and_stacks_the_rest() -> None:
    rows = [
        {"input_ids": torch.tensor([5, 6, 7]), "labels": torch.tensor([IGNORE, 6, 7]), "pixel_values": torch.zeros(2)},
        {"input_ids": torch.tensor([8]), "labels": torch.tensor([8]), "pixel_values": torch.ones(2)},
    ]
    batch = collate(rows, 9)
    assert batch["input_ids"].tolist() == [[5, 6, 7], [8, 9, 9]]
    assert batch["attention_mask"].tolist() == [[1, 1, 1], [1, 0, 0]]
    assert batch["labels"].tolist() == [[IGNORE, 6, 7], [8, IGNORE, IGNORE]]
    assert batch["pixel_values"].tolist() == [[0, 0], [1, 1]]


def test_a_pad_token_that_is_also_the_end_keeps_its_label() -> None:
    row = {"input_ids": torch.tensor([5, 9]), "labels": torch.tensor([IGNORE, 9])}
    batch = collate([row, {k: v[:1] for k, v in row.items()}], 9)
    assert batch["attention_mask"].tolist() == [[1, 1], [1, 0]]
    assert batch["labels"].tolist() == [[IGNORE, 9], [IGNORE, IGNORE]]


def test_padding_changes_no_answer(tiny: VisionLanguageModel) -> None:
    data = EncodedData(tiny, Numbers(answers=("yes", "a very long answer of many words indeed .")))
    with torch.inference_mode():
        together = answer_logits(tiny, data.batch([0, 1, 2]))
        for row in range(3):
            alone = answer_logits(tiny, data.batch([row]))
            at = together.owner == row
            assert torch.equal(together.targets[at], alone.targets)
            assert torch.allclose(together.logits[at], alone.logits, atol=1e-4)


def test_answers_predicts_each_token_from_the_one_before(tiny: VisionLanguageModel) -> None:
    data = EncodedData(tiny, Numbers())
    batch = data.batch([0, 1])
    with torch.inference_mode():
        found = answer_logits(tiny, batch, hidden=True)
        inputs = {k: batch[k] for k in ("input_ids", "attention_mask", "pixel_values")}
        raw = tiny.model(**inputs, output_hidden_states=True)
    place = 0
    for row in range(2):
        for t in range(1, batch["labels"].shape[1]):
            if batch["labels"][row, t] != IGNORE:
                assert found.targets[place] == batch["input_ids"][row, t]
                assert found.owner[place] == row
                assert torch.allclose(found.logits[place], raw.logits[row, t - 1], atol=1e-5)
                assert found.hidden is not None
                assert torch.allclose(found.hidden[place], raw.hidden_states[-1][row, t - 1])
                place += 1
    assert place == len(found.targets)
    assert answer_logits(tiny, batch).hidden is None


def test_a_model_that_gives_every_position_gives_the_same(
    tiny: VisionLanguageModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch = EncodedData(tiny, Numbers()).batch([0, 1, 2])
    with torch.inference_mode():
        some = answer_logits(tiny, batch)
        monkeypatch.setattr("pcvr.models.forward.takes_logits_to_keep", lambda _model: False)
        every = answer_logits(tiny, batch)
    assert torch.allclose(some.logits, every.logits, atol=1e-5)
    assert torch.equal(some.owner, every.owner)


@pytest.mark.parametrize("rows", [[0, 1, 2], [1], [0, 2], []])
def test_answers_of_some_rows_are_those_of_a_smaller_batch(tiny: VisionLanguageModel, rows: list[int]) -> None:
    data = EncodedData(tiny, Numbers(answers=("yes", "a very long answer of many words indeed .")))
    with torch.inference_mode():
        some = answer_logits(tiny, data.batch([0, 1, 2]), hidden=True).of(torch.tensor(rows, dtype=torch.long))
        assert some.samples == len(rows)
        for place, row in enumerate(rows):
            alone = answer_logits(tiny, data.batch([row]), hidden=True)
            at = some.owner == place
            assert torch.equal(some.targets[at], alone.targets)
            assert torch.allclose(some.logits[at], alone.logits, atol=1e-4)
            assert some.hidden is not None and alone.hidden is not None
            assert torch.allclose(some.hidden[at], alone.hidden, atol=1e-4)


def test_the_likelihood_of_an_answer_is_the_product_of_its_words(tiny: VisionLanguageModel) -> None:
    with torch.inference_mode():
        said = answer_logits(tiny, EncodedData(tiny, Numbers()).batch([0, 1]))
    each = said.logits.softmax(-1)[range(len(said.targets)), said.targets]
    expected = [each[said.owner == row].prod().item() for row in range(2)]
    assert said.likelihood().tolist() == pytest.approx(expected, rel=1e-4)


class TestEncodedData:
    def test_lazily_gives_the_same_rows(self, tiny: VisionLanguageModel) -> None:
        numbers = Numbers(70)
        kept, lazy = EncodedData(tiny, numbers), EncodedData(tiny, numbers, keep_bytes=0)
        for index in (0, 1, 63, 64, 69):
            one, other = kept[index], lazy[index]
            assert one.keys() == other.keys()
            assert all(torch.equal(one[k], other[k]) for k in one)
            assert one["index"] == index
        views = [d.view([3, 1], [0, 2], PatchView(), torch.Generator().manual_seed(0)) for d in (kept, lazy)]
        assert torch.equal(*views)
        assert not lazy.keep_features()
        assert len(lazy) == 70

    def test_a_large_set_is_read_when_asked_for(self, tiny: VisionLanguageModel) -> None:
        class Counting(Numbers):
            read = 0

            def __getitem__(self, index: int, /) -> Sample:
                Counting.read += 1
                return super().__getitem__(index)

        data = EncodedData(tiny, Counting(1000), keep_bytes=1000)
        assert Counting.read == 0
        data.batch([4, 5])
        data.batch([5, 4, 4])
        assert Counting.read == 2, "what was prepared is kept, on disk where memory has no room"
        data.close()
        data.batch([5])
        assert Counting.read == 3

    def test_an_empty_set_is_refused(self, tiny: VisionLanguageModel) -> None:
        with pytest.raises(PcvrError, match="empty"):
            EncodedData(tiny, Numbers(0))

    def test_kept_features_give_the_same_logits_as_pictures(self, vlm: VisionLanguageModel) -> None:
        adapted = with_adapter(vlm, TrainConfig())
        data = EncodedData(adapted, Numbers())
        with torch.inference_mode():
            expected = answer_logits(adapted, data.batch([2, 0, 5])).logits
            assert data.keep_features(batch_size=5)
            batch = data.batch([2, 0, 5])
            assert batch["features"].shape == (3, 10, 32) and "pixel_values" not in batch
            assert torch.allclose(answer_logits(adapted, batch).logits, expected, atol=1e-5)
        seen = data.view([0], [1], PatchView("mean"), torch.Generator().manual_seed(0))
        assert seen.shape == (1, 3, 48, 48), "the pictures stay within reach, for views"

    def test_once_features_are_kept_images_are_on_disk_and_equal_to_the_bit(self, tiny: VisionLanguageModel) -> None:
        data = EncodedData(tiny, Numbers(9))
        before = data.rows(range(9))
        assert data.store.held > 0 and data.keep_features(batch_size=4)
        assert data.store.held == 0 and data.store.spilled > 0
        for _ in ("read back", "prepared again"):
            after = data.rows(range(9))
            assert all(torch.equal(a[k], b[k]) for a, b in zip(after, before, strict=True) for k in b)
            data.close()
        (row,) = data.stream([4])
        assert data.features is not None
        assert torch.equal(row["input_ids"], before[4]["input_ids"]) and torch.equal(row["features"], data.features[4])


class TestFedTower:
    def test_the_features_stand_for_the_pictures_they_were_made_of(self, vlm: VisionLanguageModel) -> None:
        batch = EncodedData(vlm, Numbers(4)).batch([0, 1])
        features = tower_features(vlm, batch["pixel_values"])
        with torch.inference_mode():
            expected = answer_logits(vlm, batch).logits
            fed = answer_logits(
                vlm, {k: v for k, v in batch.items() if k != "pixel_values"} | {"features": features}
            ).logits
        assert torch.allclose(fed, expected, atol=1e-5)
        assert not features.requires_grad

    @pytest.mark.parametrize("adapted", [False, True])
    def test_the_tower_is_put_back_also_after_an_exception(self, vlm: VisionLanguageModel, adapted: bool) -> None:
        model = with_adapter(vlm, TrainConfig()) if adapted else vlm
        tower, names = model.family.part(model.model, "tower"), list(model.model.state_dict())
        with pytest.raises(KeyError), fed_tower(model, torch.zeros(1, 10, 32)) as blank:
            assert model.family.part(model.model, "tower") is not tower
            assert blank.shape == (1, 3, 48, 48)
            raise KeyError
        assert model.family.part(model.model, "tower") is tower
        assert list(model.model.state_dict()) == names


def test_batches_cover_everything_once() -> None:
    assert [list(b) for b in batches(5, 2)] == [[0, 1], [2, 3], [4]]
    assert batches(0, 2) == []
