"""From samples to tensors: prompt and answer tokens, labels on the answer only, pictures or their tower features."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from pcvr.errors import PcvrError
from pcvr.models.conversation import answer_ids
from pcvr.models.layout import viewed

if TYPE_CHECKING:
    from pcvr.data.sample import Dataset, Sample
    from pcvr.models.vlm import VisionLanguageModel
    from pcvr.views import PatchView

IGNORE = -100
"""Label of a token that does not count."""
KEEP_BYTES = 512 * 2**20
"""Pictures and tower features are kept in memory up to this many bytes each; larger data is prepared when asked for."""
OF_TOKENS = ("input_ids", "token_type_ids", "mm_token_type_ids")
"""What a processor gives one value a token of."""

Batch = dict[str, Tensor]
"""``input_ids``, ``attention_mask``, ``labels`` ``[B, T]``, ``index [B]`` and the picture tensors of the family."""


def encode_samples(vlm: VisionLanguageModel, samples: Sequence[Sample]) -> list[Batch]:
    """Encode samples for training.

    Returns:
        One dict a sample: ``input_ids [T]`` (prompt, answer, end), ``labels [T]`` (``-100`` on the prompt) and the
        picture tensors as the family's processor makes them (``pixel_values [3, H, W]`` for LLaVA).

    Raises:
        PcvrError: a prompt or an answer holds the token that stands for a picture.
    """
    from pcvr.models.vlm import refuse_image_token

    for sample in samples:
        refuse_image_token(vlm.processor, sample.answer, "answer")
    answers = answer_ids(vlm, [(s.prompt, s.answer) for s in samples])
    # Where pictures have parts, a batch of the processor is padded or run together; one by one nothing is.
    together = vlm.family.layout == "picture"
    chunks = [list(samples)] if together else [[sample] for sample in samples]
    prompts = [row for chunk in chunks for row in _prompt_rows(vlm, chunk)]
    return [_with_answer(prompt, torch.tensor(answer)) for prompt, answer in zip(prompts, answers, strict=True)]


def _prompt_rows(vlm: VisionLanguageModel, samples: Sequence[Sample]) -> list[Batch]:
    """Prompts and pictures, without padding; several samples at a time only where a picture is one tensor."""
    batch = vlm.prepare([s.image for s in samples], [s.prompt for s in samples])
    mask = batch.pop("attention_mask").bool()
    rows = []
    for i in range(len(samples)):
        row = {k: v[i][mask[i]] if k in OF_TOKENS else v[i] for k, v in batch.items()}
        if vlm.family.layout == "patches":  # of one sample, and not divided by samples
            row |= {k: batch[k] for k in ("pixel_values", "image_grid_thw")}
        if "qformer_attention_mask" in row:
            read = row["qformer_attention_mask"].bool()
            row |= {k: row[k][read] for k in ("qformer_input_ids", "qformer_attention_mask")}
        rows.append(row)
    return rows


def _with_answer(prompt: Batch, answer: Tensor) -> Batch:
    """The prompt's row with the answer behind it; what else has one value a token is 0 there."""
    ids = prompt["input_ids"]
    row = {
        k: torch.cat([v, v.new_zeros(len(answer))]) if k in OF_TOKENS else v
        for k, v in prompt.items()
    }
    told = torch.cat([torch.full_like(ids, IGNORE), answer])
    return row | {"input_ids": torch.cat([ids, answer]), "labels": told}


class EncodedData(torch.utils.data.Dataset[Batch]):
    """A data set as tensors. Small sets are encoded once and stay in memory; large ones sample by sample.

    Args:
        vlm: whose processor and template are used.
        data: the samples.
        keep_bytes: memory that pictures, and separately tower features, may take.
    """

    def __init__(self, vlm: VisionLanguageModel, data: Dataset, keep_bytes: int = KEEP_BYTES) -> None:
        if len(data) == 0:
            raise PcvrError("the data set is empty: give at least one sample.")
        self.vlm, self.data, self.keep_bytes = vlm, data, keep_bytes
        first = encode_samples(vlm, [data[0]])[0]
        self._rows: list[Batch] | None = None
        if _bytes(first) * len(data) <= keep_bytes:
            self._rows = []
            for start in range(0, len(data), 64):
                chunk = [data[i] for i in range(start, min(start + 64, len(data)))]
                self._rows += encode_samples(vlm, chunk)
        self.features: Tensor | None = None

    def __len__(self) -> int:
        return len(self.data)

    def row(self, index: int) -> Batch:
        """Sample `index` with its picture, whether or not tower features are kept."""
        return self._rows[index] if self._rows is not None else encode_samples(self.vlm, [self.data[index]])[0]

    def __getitem__(self, index: int) -> Batch:
        row = dict(self.row(index))
        row["index"] = torch.tensor(index)
        if self.features is not None:
            row["features"] = self.features[index]
            del row["pixel_values"]
        return row

    def view(
        self, indices: Sequence[int], donors: Sequence[int], view: PatchView, generator: torch.Generator
    ) -> Tensor:
        """``pixel_values`` of a view of some samples, collated; patches for the swap operator come from `donors`."""
        rows = [self.row(i) for i in indices]
        return _joined("pixel_values", viewed(self.vlm, rows, [self.row(i) for i in donors], view, generator))

    def batch(self, indices: Sequence[int]) -> Batch:
        """Some samples, collated."""
        return collate([self[i] for i in indices], self.vlm.tokenizer.pad_token_id)

    def keep_features(self, batch_size: int = 64) -> bool:
        """Run the frozen tower once over everything and keep what it gives; returns False where that takes too much,
        or where not all pictures have as many tiles."""
        from pcvr.models.tower import tower_features

        if self._rows is None or self.vlm.family.layout == "patches":
            return False
        if len({row["pixel_values"].shape for row in self._rows}) > 1:
            return False
        one = tower_features(self.vlm, self._rows[0]["pixel_values"][None])
        if one.numel() * one.element_size() * len(self) > self.keep_bytes:
            return False
        chunks = []
        for start in range(0, len(self), batch_size):
            pixels = torch.stack([row["pixel_values"] for row in self._rows[start : start + batch_size]])
            chunks.append(tower_features(self.vlm, pixels))
        self.features = torch.cat(chunks)  # [N, tokens, width], or [N, tiles, tokens, width]
        return True


class Collator:
    """Pads a list of encoded samples to one batch, on the right."""

    def __init__(self, pad_token_id: int) -> None:
        self.pad_token_id = pad_token_id

    def __call__(self, rows: Sequence[Batch]) -> Batch:
        return collate(rows, self.pad_token_id)


def collate(rows: Sequence[Batch], pad_token_id: int) -> Batch:
    """Join encoded samples: token rows padded on the right to ``[B, T]``, pictures stacked, missing tiles as zeros."""
    pad = nn.utils.rnn.pad_sequence
    ids = pad([r["input_ids"] for r in rows], batch_first=True, padding_value=pad_token_id)
    lengths = torch.tensor([len(r["input_ids"]) for r in rows])
    batch = {
        "input_ids": ids,
        "attention_mask": (torch.arange(ids.shape[1])[None] < lengths[:, None]).long(),
        "labels": pad([r["labels"] for r in rows], batch_first=True, padding_value=IGNORE),
    }
    return batch | {k: _joined(k, [r[k] for r in rows]) for k in rows[0] if k not in batch}


def _joined(name: str, parts: Sequence[Tensor]) -> Tensor:
    """One tensor of a batch: patches of all pictures in one row, else stacked, and padded with zeros if need be."""
    if name == "image_grid_thw" or (name == "pixel_values" and parts[0].dim() == 2):
        return torch.cat(list(parts))
    if len({part.shape for part in parts}) == 1:
        return torch.stack(list(parts))
    return nn.utils.rnn.pad_sequence(list(parts), batch_first=True)


def _bytes(row: dict[str, Any]) -> int:
    return sum(v.numel() * v.element_size() for v in row.values())
