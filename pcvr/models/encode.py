"""Samples as tensors: tokens of prompt and answer, labels on the answer only, images or their tower features."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from pcvr.data.pictures import as_picture
from pcvr.data.sample import Dataset, Image, Sample
from pcvr.errors import PcvrError
from pcvr.models.budget import context_of
from pcvr.models.conversation import Piece, answer_ids, end_of_turn, pieces
from pcvr.models.layout import as_taken, own_pixels, viewed
from pcvr.models.of_tokens import OF_TOKENS, prolonged
from pcvr.models.preparing import prepared
from pcvr.models.store import KEEP_BYTES, SPILL_BYTES, RowStore, row_bytes

if TYPE_CHECKING:
    from pcvr.models.vlm import VisionLanguageModel
    from pcvr.views import PatchView

IGNORE = -100
"""Label of tokens that the loss ignores."""

Batch = dict[str, Tensor]
"""``input_ids``, ``attention_mask``, ``labels`` ``[B, T]``, ``index [B]`` and the image tensors of the family."""


def encode_samples(vlm: VisionLanguageModel, samples: Sequence[Sample]) -> list[Batch]:
    """Encode samples for training.

    Returns:
        One dict a sample: ``input_ids [T]`` (prompt, answer, end, then the later exchanges), ``labels [T]`` (every
        answer with its end, ``-100`` elsewhere) and the image tensors of the family's processor (``pixel_values
        [3, H, W]`` for LLaVA). What does not fit the model's context is truncated (see `was_cut`).

    Raises:
        PcvrError: a prompt or an answer has an image token, or a prompt alone fills the context.
    """
    from pcvr.models.vlm import refuse_image_token

    for sample in samples:
        for prompt, answer in sample.later:
            refuse_image_token(vlm.processor, prompt, "prompt")
            refuse_image_token(vlm.processor, answer, "answer")
        refuse_image_token(vlm.processor, sample.answer, "answer")
    alone = iter(answer_ids(vlm, [(s.question, s.answer) for s in samples if not s.later]))
    said = [pieces(vlm, ((s.question, s.answer), *s.later)) if s.later else [Piece(next(alone), True)] for s in samples]
    prompts = _prompt_rows(vlm, samples)
    rooms = [room_for_answer(vlm, len(prompt["input_ids"])) for prompt in prompts]
    kind = vlm.family.answer_type
    return [_with_pieces(*each, kind) for each in zip(prompts, said, rooms, strict=True)]


def room_for_answer(vlm: VisionLanguageModel, tokens: int) -> int | None:
    """Return the tokens that the context leaves for an answer after a prompt of `tokens`; None without a limit.

    Raises:
        PcvrError: no token is left.
    """
    limit = context_of(vlm)
    if limit is not None and tokens >= limit:
        raise PcvrError(
            f"a prompt takes {tokens} tokens with its image, and the context of model {vlm.name!r} has {limit}, answer "
            "included: shorten the prompt, give a smaller image, or take a model with a longer context."
        )
    return None if limit is None else limit - tokens


def was_cut(vlm: VisionLanguageModel, row: Batch) -> bool:
    """Return whether the answer of an encoded sample was truncated to the model's context."""
    ids, limit = row["input_ids"], context_of(vlm)
    return limit is not None and len(ids) >= limit and int(ids[-1]) != end_of_turn(vlm)


def prompt_rows(
    vlm: VisionLanguageModel, images: Sequence[Image], prompts: Sequence[str]
) -> Iterator[tuple[int, Batch]]:
    """Return an iterator over the index of each image and its tensors with prompt, unpadded; images are read lazily."""
    asked = ((i, Sample(str(i), as_picture(images[i]), prompts[i], "")) for i in range(len(images)))
    return prepared(vlm, asked, _prompt_rows)


def prompt_batch(vlm: VisionLanguageModel, rows: Sequence[Batch]) -> Batch:
    """Collate prompts from `prompt_rows` as the model takes them, padded on the left, so that answers can follow.

    Padding comes after the image tokens of BLIP-2, as in its own processor.
    """
    longest = max(len(row["input_ids"]) for row in rows)
    front = getattr(vlm.processor, "num_query_tokens", None) or 0

    def padded(values: Tensor, filler: int) -> Tensor:
        padding = values.new_full((longest - len(values), *values.shape[1:]), filler)
        return torch.cat([values[:front], padding, values[front:]])

    batch: Batch = {}
    for name in rows[0]:
        filler = vlm.tokenizer.pad_token_id if name == "input_ids" else 0
        parts = [padded(row[name], filler) if name in OF_TOKENS else row[name] for row in rows]
        batch[name] = joined(name, parts)
    batch["attention_mask"] = torch.stack([padded(torch.ones_like(row["input_ids"]), 0) for row in rows])
    return model_inputs(vlm, batch)


def model_inputs(vlm: VisionLanguageModel, batch: Batch) -> Batch:
    """Return what the model takes of a batch, on its device: without labels and indices."""
    inputs = {k: v.to(vlm.device) for k, v in batch.items() if k not in ("labels", "index")}
    return as_taken(vlm.family, inputs)


def _prompt_rows(vlm: VisionLanguageModel, samples: Sequence[Sample]) -> list[Batch]:
    """Encode prompts and images without padding; several samples at a time only if an image is a single tensor."""
    if vlm.family.layout != "picture" and len(samples) > 1:  # the processor would pad or concatenate a batch's tiles
        return [row for sample in samples for row in _prompt_rows(vlm, [sample])]
    batch = vlm.prepare([s.image for s in samples], [s.question for s in samples])
    mask = batch.pop("attention_mask").bool()
    rows = []
    for i in range(len(samples)):
        row = {k: v[i][mask[i]] if k in OF_TOKENS else v[i] for k, v in batch.items()}
        if vlm.family.layout != "picture":  # a single sample
            row["pixel_values"] = own_pixels(vlm.family, batch["pixel_values"])
        elif vlm.family.pack == "list":
            row["pixel_values"] = row["pixel_values"][0]
        if vlm.family.layout == "patches":  # with a row for each image, as for several samples
            row["image_grid_thw"] = batch["image_grid_thw"]
        if "qformer_attention_mask" in row:
            read = row["qformer_attention_mask"].bool()
            row |= {k: row[k][read] for k in ("qformer_input_ids", "qformer_attention_mask")}
        rows.append(row)
    return rows


def with_answer(prompt: Batch, answer: Tensor, answer_type: int = 0) -> Batch:
    """Return an encoded prompt with an answer ``[n]`` appended, as labels too; see `prolonged`."""
    return _with_tokens(prompt, answer, answer, answer_type)


def _with_pieces(prompt: Batch, said: Sequence[Piece], room: int | None, answer_type: int) -> Batch:
    """Return an encoded prompt with the rest of its conversation, truncated to `room` tokens."""
    ids = torch.tensor([token for piece in said for token in piece.ids][:room])
    labels = torch.tensor([token if piece.label else IGNORE for piece in said for token in piece.ids][:room])
    return _with_tokens(prompt, ids, labels, answer_type)


def _with_tokens(prompt: Batch, tokens: Tensor, own: Tensor, answer_type: int) -> Batch:
    ids = prompt["input_ids"]
    row = {k: prolonged(k, v, len(tokens), answer_type) if k in OF_TOKENS else v for k, v in prompt.items()}
    labels = torch.cat([torch.full_like(ids, IGNORE), own])
    return row | {"input_ids": torch.cat([ids, tokens]), "labels": labels}


class EncodedData(torch.utils.data.Dataset[Batch]):
    """A data set as tensors; each sample is prepared on first access and then kept (see `RowStore`).

    Args:
        vlm: model whose processor and template are used.
        data: the samples.
        keep_bytes: memory for encoded samples, and as much for tower features.
        spill_bytes: additional disk space for encoded samples.

    Attributes:
        cut: indices of the prepared samples whose answers were truncated to the model's context.
        features: features of the frozen tower, after `keep_features`.
        texts: the encoded samples without their images, after `keep_features`.
    """

    def __init__(
        self, vlm: VisionLanguageModel, data: Dataset, keep_bytes: int = KEEP_BYTES, spill_bytes: int = SPILL_BYTES
    ) -> None:
        if len(data) == 0:
            raise PcvrError("the data set is empty: give at least one sample.")
        self.vlm, self.data, self.keep_bytes = vlm, data, keep_bytes
        self.store, self._spill_bytes = RowStore(keep_bytes, spill_bytes), spill_bytes
        self.cut: set[int] = set()
        self.features: Tensor | None = None
        self.texts: list[Batch] = []

    def __len__(self) -> int:
        return len(self.data)

    def row(self, index: int) -> Batch:
        """Return sample `index` with its image, even if tower features are kept."""
        return self.rows([index])[0]

    def rows(self, indices: Iterable[int]) -> list[Batch]:
        """Return several samples; see `row`."""
        wanted = [int(i) for i in indices]
        once = list(dict.fromkeys(wanted))
        found = dict(zip(once, self._rows(once), strict=True))
        return [found[i] for i in wanted]

    def stream(self, indices: Iterable[int]) -> Iterator[Batch]:
        """Return an iterator over the samples at `indices`, which must be distinct; they are read lazily."""
        wanted = [int(i) for i in indices]
        if self.features is not None:
            return (self._item(i) for i in wanted)
        return (self._item(i, row) for i, row in zip(wanted, self._rows(wanted), strict=True))

    def _rows(self, wanted: Sequence[int]) -> Iterator[Batch]:
        missing = ((i, self.data[i]) for i in wanted if i not in self.store)
        fresh = prepared(self.vlm, missing, encode_samples)
        for index in wanted:
            row = self.store.get(index)
            while row is None:  # another reader may have stored samples meanwhile, so `fresh` may lag behind
                place, row = next(fresh)
                self.store.put(place, row)
                if was_cut(self.vlm, row):
                    self.cut.add(place)
                row = row if place == index else self.store.get(index)
            yield row

    def _item(self, index: int, row: Batch | None = None) -> Batch:
        """Return a sample with its index: `row` with its image, or text and tower features where these are kept."""
        if row is None:
            assert self.features is not None
            row = self.texts[index] | {"features": self.features[index]}
        return row | {"index": torch.tensor(index)}

    def __getitem__(self, index: int) -> Batch:
        return self.__getitems__([index])[0]

    def __getitems__(self, indices: Sequence[int]) -> list[Batch]:
        """Return several samples at once; DataLoader calls this."""
        if self.features is not None:
            return [self._item(int(i)) for i in indices]
        return [self._item(i, row) for i, row in zip(indices, self.rows(indices), strict=True)]

    def view(
        self, indices: Sequence[int], donors: Sequence[int], view: PatchView, generator: torch.Generator
    ) -> Tensor:
        """Return collated ``pixel_values`` of a view of some samples; the swap operator takes patches of `donors`."""
        rows = self.rows([*indices, *donors])
        count = len(indices)
        return joined("pixel_values", viewed(self.vlm, rows[:count], rows[count:], view, generator))

    def batch(self, indices: Sequence[int]) -> Batch:
        """Return some samples, collated."""
        return collate(self.__getitems__(indices), self.vlm.tokenizer.pad_token_id)

    def keep_features(self, batch_size: int = 64, progress: bool = False) -> bool:
        """Run the frozen tower once over all samples and keep its features; the images then move to the scratch file.

        Training reads features, and only views of pixels still need images: in memory these would take several times
        as much as all else.

        Args:
            batch_size: images at a time.
            progress: whether a progress bar shows after two seconds.

        Returns:
            Whether they are kept: not if they take too much memory, or if images differ in their number of tiles.
        """
        from tqdm.auto import tqdm

        from pcvr.models.tower import keeps_features, tower_features

        # The first sample's size only tells whether to try; the store counts the bytes that are kept.
        if not keeps_features(self.vlm) or row_bytes(self.row(0)) * len(self) > self.keep_bytes:
            return False
        features: Tensor | None = None
        texts: list[Batch] = []
        shape = self.row(0)["pixel_values"].shape
        with tqdm(
            total=len(self), desc="read the data", unit="sample", delay=2, disable=not progress, leave=False
        ) as bar:
            for start in range(0, len(self), batch_size):
                part = range(start, min(start + batch_size, len(self)))
                rows = self.rows(part)
                if any(row["pixel_values"].shape != shape for row in rows) or not all(map(self.store.in_memory, part)):
                    return False
                block = tower_features(self.vlm, torch.stack([row["pixel_values"] for row in rows]))
                if features is None:
                    if block[0].numel() * block.element_size() * len(self) > self.keep_bytes:
                        return False
                    features = block.new_empty(len(self), *block.shape[1:])
                features[start : part.stop] = block
                texts += [{name: value for name, value in row.items() if name != "pixel_values"} for row in rows]
                self.store.move_out(part)
                bar.update(len(part))
        self.features, self.texts = features, texts  # [N, tokens, width], or [N, tiles, tokens, width]
        return True

    def close(self) -> None:
        """Release the scratch file; its samples are prepared again on access."""
        self.store.close()

    def release(self) -> None:
        """Release encoded samples, in memory and on disk; they are prepared again on access.

        Tower features stay: whoever looks at a training afterwards needs views of the kind that it saw.
        """
        self.close()
        self.store = RowStore(self.keep_bytes, self._spill_bytes)


class Collator:
    """Pads a list of encoded samples to one batch, on the right."""

    def __init__(self, pad_token_id: int) -> None:
        self.pad_token_id = pad_token_id

    def __call__(self, rows: Sequence[Batch]) -> Batch:
        return collate(rows, self.pad_token_id)


def collate(rows: Sequence[Batch], pad_token_id: int) -> Batch:
    """Join encoded samples: token rows padded on the right to ``[B, T]``, images stacked, missing tiles as zeros."""
    pad = nn.utils.rnn.pad_sequence
    ids = pad([r["input_ids"] for r in rows], batch_first=True, padding_value=pad_token_id)
    lengths = torch.tensor([len(r["input_ids"]) for r in rows])
    batch = {
        "input_ids": ids,
        "attention_mask": (torch.arange(ids.shape[1])[None] < lengths[:, None]).long(),
        "labels": pad([r["labels"] for r in rows], batch_first=True, padding_value=IGNORE),
    }
    return batch | {k: joined(k, [r[k] for r in rows]) for k in rows[0] if k not in batch}


def joined(name: str, parts: Sequence[Tensor]) -> Tensor:
    """Return one tensor of a batch: patches of all images concatenated, else stacked, with zeros as padding."""
    if name == "image_grid_thw" or (name == "pixel_values" and parts[0].dim() == 2):
        return torch.cat(list(parts))
    if len({part.shape for part in parts}) == 1:
        return torch.stack(list(parts))
    if parts[0].dim() == 3 and name == "pixel_values":  # of several sizes
        high, wide = (max(part.shape[side] for part in parts) for side in (1, 2))
        return torch.stack([nn.functional.pad(p, (0, wide - p.shape[2], 0, high - p.shape[1])) for p in parts])
    return nn.utils.rnn.pad_sequence(list(parts), batch_first=True)
