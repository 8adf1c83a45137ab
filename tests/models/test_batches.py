"""How much is done at a time: rows kept within budgets, pictures read once, batches that fit the memory."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from pcvr import PcvrError, Sample, VisionLanguageModel
from pcvr.data.asked import Asked, Lazy, bare_samples, picked
from pcvr.models import budget, preparing
from pcvr.models.budget import Costs, grouped
from pcvr.models.encode import encode_samples, prompt_rows, was_cut
from pcvr.models.generate import generate
from pcvr.models.preparing import prepared
from pcvr.models.store import RowStore, row_bytes
from tests.tiny import Numbers

CPU = torch.device("cpu")


class Counted(Numbers):
    """Counts how often each sample is read."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.reads: list[int] = []

    def __getitem__(self, index: int, /) -> Sample:
        sample = super().__getitem__(index)
        self.reads.append(index)
        return sample


def row(index: int) -> dict[str, torch.Tensor]:
    """A row of odd shapes and kinds, larger for larger indices."""
    return {
        "pixel_values": torch.full((index + 1, 3, 4), float(index)),
        "half": torch.full((5,), index + 0.5, dtype=torch.bfloat16),
        "flag": torch.tensor(index % 2 == 0),
        "none": torch.empty(0, 2, dtype=torch.long),
        "across": torch.arange(6).view(2, 3).T,
    }


class TestRowStore:
    @pytest.mark.parametrize("keep", [0, 400, 10**6])
    def test_rows_come_back_to_the_bit_from_memory_and_disk(self, keep: int) -> None:
        store = RowStore(keep)
        for index in range(6):
            store.put(index, row(index))
        assert store.held <= keep and store.held + store.spilled == sum(row_bytes(row(i)) for i in range(6))
        for index in range(6):
            found = store.get(index)
            assert found is not None and index in store
            assert all(torch.equal(found[k], v) and found[k].dtype == v.dtype for k, v in row(index).items())

    def test_what_is_kept_decides_and_not_the_first_row(self) -> None:
        store = RowStore(keep_bytes=row_bytes(row(0)) * 3, spill_bytes=0)
        for index in (0, 200, 1):
            store.put(index, row(index))
        assert 0 in store and 200 not in store and store.get(200) is None
        assert store.held <= store.keep_bytes

    def test_the_disk_has_a_budget_and_is_given_back(self) -> None:
        store = RowStore(keep_bytes=0, spill_bytes=2 * row_bytes(row(3)))
        for index in (3, 4, 2):
            store.put(index, row(index))
        assert 3 in store and 4 not in store and store.spilled <= store.spill_bytes
        store.close()
        store.close()
        assert 3 not in store and store.get(3) is None and store.spilled == 0

    def test_a_folder_that_cannot_be_written_spills_nothing(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("pcvr.models.store.scratch_folder", lambda: "/proc/nowhere")
        store = RowStore(keep_bytes=0)
        store.put(0, row(0))
        assert store.get(0) is None


class TestAsked:
    def test_pictures_and_prompts_in_step_are_read_once(self) -> None:
        data = Counted(5)
        asked = Asked(data, keep_bytes=0)
        for place, (image, prompt) in enumerate(zip(asked.images, asked.prompts, strict=True)):
            sample = Numbers(5)[place]
            assert np.array_equal(image, sample.image) and prompt == sample.prompt
        assert data.reads == [0, 1, 2, 3, 4]

    def test_pictures_are_kept_within_the_budget(self) -> None:
        data, other = Counted(3), Counted(2)
        asked = Asked(data, other, keep_bytes=2 * data[0].image.nbytes)
        data.reads.clear()
        first = list(asked.images)
        assert all(np.array_equal(a, b) for a, b in zip(first, asked.images, strict=True))
        assert data.reads == [0, 1, 2, 2] and other.reads == [0, 1, 0, 1]
        assert len(asked.prompts) == 5

    def test_sequences_are_ordinary_and_lazy(self) -> None:
        made: list[int] = []

        def make(index: int) -> int:
            made.append(index)
            return 10 * index

        lazy = Lazy(make, 5)
        assert picked(lazy, [3, 1])[0] == 30 and made == [3]
        assert lazy[-1] == 40 and lazy[1:3] == [10, 20] and list(picked(lazy, [4, 0])) == [40, 0]
        with pytest.raises(IndexError):
            lazy[5]

    def test_bare_samples_have_all_but_the_picture(self) -> None:
        for place, bare in enumerate(bare_samples(Numbers(3))):
            assert bare.image.size == 0 and bare.references == Numbers(3)[place].references


class TestPrepared:
    @pytest.mark.parametrize("workers", [1, 3])
    def test_threads_change_nothing(
        self, tiny: VisionLanguageModel, monkeypatch: pytest.MonkeyPatch, workers: int
    ) -> None:
        monkeypatch.setattr(preparing, "threads", lambda: workers)
        monkeypatch.setattr(preparing, "CHUNK", 3)
        data = Numbers(14)
        expected = [encode_samples(tiny, [data[i]])[0] for i in range(14)]
        found = list(prepared(tiny, ((i, data[i]) for i in range(14)), encode_samples))
        assert [place for place, _ in found] == list(range(14))
        for (_, got), want in zip(found, expected, strict=True):
            assert got.keys() == want.keys() and all(torch.equal(got[k], v) for k, v in want.items())

    def test_few_pictures_are_in_memory_at_a_time(
        self, tiny: VisionLanguageModel, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(preparing, "threads", lambda: 2)
        monkeypatch.setattr(preparing, "CHUNK_BYTES", 1)
        data = Counted(20)
        rows = prepared(tiny, ((i, data[i]) for i in range(20)), encode_samples)
        next(rows)
        assert len(data.reads) <= 4

    def test_an_error_comes_through(self, tiny: VisionLanguageModel, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(preparing, "threads", lambda: 2)
        monkeypatch.setattr(preparing, "CHUNK", 2)
        data = Numbers(9, answers=("yes", "an <image>", "no"))
        with pytest.raises(PcvrError, match="<image>"):
            list(prepared(tiny, ((i, data[i]) for i in range(9)), encode_samples))


class TestGrouped:
    def test_batches_fit_and_keep_the_order(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(budget, "budget", lambda _: 10)
        assert list(grouped([1, 2, 3, 4, 12, 1], lambda x: x, 3, CPU)) == [[1, 2, 3], [4], [12], [1]]
        assert list(grouped(range(5), lambda _: 99, 9, CPU, given=2)) == [[0, 1], [2, 3], [4]]
        monkeypatch.setattr(budget, "budget", lambda _: None)
        assert list(grouped(range(5), lambda _: 99, 3, CPU)) == [[0, 1, 2], [3, 4]]

    @pytest.mark.parametrize("size", [0, -1, 2.0, "3", True])
    def test_sizes_are_whole_numbers(self, size: Any) -> None:
        with pytest.raises(PcvrError, match="batch_size is"):
            list(grouped([1], lambda x: x, 3, CPU, given=size))


LLAVA_7B = Costs(
    element=2, layers=32, width=4096, inner=11008, cached=2 * 4096, heads=32, words=32064,
    tower_layers=24, tower_width=1024, patch=14, eager=False,
)  # fmt: skip


def test_llava_of_seven_billion_fits_a_card_of_80_gib() -> None:
    """Weights take 14 GiB; the key-value cache of 256 answers alone would take 79."""
    prompt = {"input_ids": torch.empty(576 + 30, dtype=torch.long), "pixel_values": torch.empty(3, 336, 336)}
    each = LLAVA_7B.answering(prompt, 40)
    assert 2 * 32 * 4096 * 646 * 2 < each < 2**30
    assert 32 <= int(0.8 * 66 * 2**30) // each < 256


def test_a_large_vocabulary_and_long_answers_make_small_batches() -> None:
    costs = replace(LLAVA_7B, words=128_000)
    sample = {"input_ids": torch.empty(900, dtype=torch.long), "pixel_values": torch.empty(3, 336, 336)}
    each = costs.reading(sample, 260)
    assert each > 4 * 260 * 128_000
    assert 1 <= int(0.8 * 66 * 2**30) // each < 64


def test_the_embedded_models_keep_their_sizes(tiny: VisionLanguageModel) -> None:
    """Figures must not change with the machine, so 256 and 128 have to fit where 2 GiB are free."""
    costs = Costs.of(tiny)
    made = encode_samples(tiny, [Numbers()[0]])[0]
    assert 256 * costs.answering(made, 40) < 2**30 and 128 * costs.reading(made, 20) < 2**30


class TestContext:
    def test_a_long_answer_is_cut_and_has_no_end(self, tiny: VisionLanguageModel) -> None:
        limit = tiny.base.config.get_text_config().max_position_embeddings
        short, long = (Sample("a", Numbers()[0].image, "what is there?", text, ()) for text in ("a cat", "cat " * 5000))
        kept, cut = encode_samples(tiny, [short, long])
        assert len(cut["input_ids"]) == len(cut["labels"]) == limit
        assert was_cut(tiny, cut) and not was_cut(tiny, kept)
        assert cut["labels"][-1] == cut["labels"][-2] != tiny.tokenizer.eos_token_id

    def test_an_answer_ends_where_the_context_does(self, tiny: VisionLanguageModel) -> None:
        limit = tiny.base.config.get_text_config().max_position_embeddings
        prompt = "cat " * (limit - 20)
        (row,) = (made for _, made in prompt_rows(tiny, [Numbers()[0].image], [prompt]))
        room = limit - len(row["input_ids"])
        assert 0 < room < 40
        said = generate(tiny, [Numbers()[0].image], [prompt])
        assert len(tiny.tokenizer(said[0], add_special_tokens=False)["input_ids"]) <= room
