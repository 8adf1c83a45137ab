"""From samples to tensors: prompt and answer tokens, labels on the answer only, pictures or their tower features."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from pcvr.errors import PcvrError

if TYPE_CHECKING:
    from pcvr.data.sample import Dataset, Sample
    from pcvr.models.load import VisionLanguageModel

IGNORE = -100
"""Label of a token that does not count."""
KEEP_BYTES = 512 * 2**20
"""Pictures and tower features are kept in memory up to this many bytes each; larger data is prepared when asked for."""

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
    from pcvr.models.load import refuse_image_token

    tokenizer = vlm.tokenizer
    for sample in samples:
        refuse_image_token(vlm.processor, sample.answer, "answer")
    prompts = vlm.processor(
        images=[s.image for s in samples],
        text=[vlm.prompt(s.prompt) for s in samples],
        return_tensors="pt",
        padding=True,
    )
    answers = tokenizer([s.answer + tokenizer.eos_token for s in samples], add_special_tokens=False)["input_ids"]
    ids, mask = prompts.pop("input_ids"), prompts.pop("attention_mask").bool()
    encoded = []
    for i, answer in enumerate(answers):
        prompt = ids[i][mask[i]]
        told = torch.tensor(answer)
        encoded.append(
            {
                "input_ids": torch.cat([prompt, told]),
                "labels": torch.cat([torch.full_like(prompt, IGNORE), told]),
                **{k: v[i] for k, v in prompts.items()},
            }
        )
    return encoded


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
            row["pixel_values"] = self.features[index]
        return row

    def pixels(self, indices: Sequence[int]) -> Tensor:
        """The pictures of some samples as the tower takes them: float ``[B, 3, H, W]``."""
        return torch.stack([self.row(i)["pixel_values"] for i in indices])

    def batch(self, indices: Sequence[int]) -> Batch:
        """Some samples, collated."""
        return collate([self[i] for i in indices], self.vlm.tokenizer.pad_token_id)

    def keep_features(self, batch_size: int = 64) -> bool:
        """Run the frozen tower once over everything and keep what it gives; returns False where that takes too much."""
        from pcvr.models.tower import tower_features

        one = tower_features(self.vlm, self.pixels([0]))
        if one.numel() * one.element_size() * len(self) > self.keep_bytes:
            return False
        chunks = []
        for start in range(0, len(self), batch_size):
            chunks.append(tower_features(self.vlm, self.pixels(range(start, min(start + batch_size, len(self))))))
        self.features = torch.cat(chunks)  # [N, tokens, width]
        return True


class Collator:
    """Pads a list of encoded samples to one batch, on the right."""

    def __init__(self, pad_token_id: int) -> None:
        self.pad_token_id = pad_token_id

    def __call__(self, rows: Sequence[Batch]) -> Batch:
        return collate(rows, self.pad_token_id)


def collate(rows: Sequence[Batch], pad_token_id: int) -> Batch:
    """Stack encoded samples: token rows padded on the right to ``[B, T]``, everything else stacked."""
    pad = nn.utils.rnn.pad_sequence
    ids = pad([r["input_ids"] for r in rows], batch_first=True, padding_value=pad_token_id)
    lengths = torch.tensor([len(r["input_ids"]) for r in rows])
    batch = {
        "input_ids": ids,
        "attention_mask": (torch.arange(ids.shape[1])[None] < lengths[:, None]).long(),
        "labels": pad([r["labels"] for r in rows], batch_first=True, padding_value=IGNORE),
    }
    return batch | {k: torch.stack([r[k] for r in rows]) for k in rows[0] if k not in batch}


def _bytes(row: dict[str, Any]) -> int:
    return sum(v.numel() * v.element_size() for v in row.values())
