"""From samples to tensors: prompt and answer tokens, labels on the answer only, pictures or their tower features."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from pcvr.errors import PcvrError
from pcvr.models.budget import context_of
from pcvr.models.conversation import answer_ids, end_of_turn
from pcvr.models.layout import viewed
from pcvr.models.preparing import prepared
from pcvr.models.store import KEEP_BYTES, SPILL_BYTES, RowStore, row_bytes

if TYPE_CHECKING:
    from pcvr.data.sample import Dataset, Image, Sample
    from pcvr.models.vlm import VisionLanguageModel
    from pcvr.views import PatchView

IGNORE = -100
"""Label of a token that does not count."""
OF_TOKENS = ("input_ids", "token_type_ids", "mm_token_type_ids")
"""What a processor gives one value a token of."""

Batch = dict[str, Tensor]
"""``input_ids``, ``attention_mask``, ``labels`` ``[B, T]``, ``index [B]`` and the picture tensors of the family."""


def encode_samples(vlm: VisionLanguageModel, samples: Sequence[Sample]) -> list[Batch]:
    """Encode samples for training.

    Returns:
        One dict a sample: ``input_ids [T]`` (prompt, answer, end), ``labels [T]`` (``-100`` on the prompt) and the
        picture tensors as the family's processor makes them (``pixel_values [3, H, W]`` for LLaVA). An answer that
        does not fit the model's context is cut there, and then has no end (see `was_cut`).

    Raises:
        PcvrError: a prompt or an answer holds the token that stands for a picture, or a prompt alone fills the context.
    """
    from pcvr.models.vlm import refuse_image_token

    for sample in samples:
        refuse_image_token(vlm.processor, sample.answer, "answer")
    answers = answer_ids(vlm, [(s.prompt, s.answer) for s in samples])
    prompts = [row for chunk in _together(vlm, samples) for row in _prompt_rows(vlm, chunk)]
    rooms = [room_for_answer(vlm, len(prompt["input_ids"])) for prompt in prompts]
    told = [torch.tensor(answer[:room]) for answer, room in zip(answers, rooms, strict=True)]
    return [_with_answer(prompt, answer) for prompt, answer in zip(prompts, told, strict=True)]


def room_for_answer(vlm: VisionLanguageModel, tokens: int) -> int | None:
    """Tokens that the model's context leaves for an answer behind a prompt of `tokens`; None without a limit.

    Raises:
        PcvrError: it leaves none.
    """
    limit = context_of(vlm)
    if limit is not None and tokens >= limit:
        raise PcvrError(
            f"a prompt takes {tokens} tokens with its picture, and the model {vlm.name!r} reads {limit} in all, the "
            "answer included: shorten the prompt, give a smaller picture, or take a model with a longer context."
        )
    return None if limit is None else limit - tokens


def was_cut(vlm: VisionLanguageModel, row: Batch) -> bool:
    """Whether the answer of an encoded sample was cut to the model's context."""
    ids, limit = row["input_ids"], context_of(vlm)
    return limit is not None and len(ids) >= limit and int(ids[-1]) != end_of_turn(vlm)


def prompt_rows(
    vlm: VisionLanguageModel, images: Sequence[Image], prompts: Sequence[str]
) -> Iterator[tuple[int, Batch]]:
    """Each picture with its prompt as tensors without padding, with its place; pictures are looked at one by one."""
    from pcvr.data.pictures import as_picture
    from pcvr.data.sample import Sample

    asked = ((i, Sample(str(i), as_picture(images[i]), prompts[i], "")) for i in range(len(images)))

    def make(of: VisionLanguageModel, samples: Sequence[Sample]) -> list[Batch]:
        return [row for chunk in _together(of, samples) for row in _prompt_rows(of, chunk)]

    return prepared(vlm, asked, make)


def prompt_batch(vlm: VisionLanguageModel, rows: Sequence[Batch]) -> Batch:
    """Prompts from `prompt_rows` as one batch on the model's device, padded on the left, so that answers can follow.

    BLIP-2's processor pads the text and puts the picture's tokens in front of that; so it is done here.
    """
    longest = max(len(row["input_ids"]) for row in rows)
    front = getattr(vlm.processor, "num_query_tokens", None) or 0

    def padded(values: Tensor, filler: int) -> Tensor:
        return torch.cat([values[:front], values.new_full((longest - len(values),), filler), values[front:]])

    batch: Batch = {}
    for name in rows[0]:
        filler = vlm.tokenizer.pad_token_id if name == "input_ids" else 0
        parts = [padded(row[name], filler) if name in OF_TOKENS else row[name] for row in rows]
        batch[name] = _joined(name, parts)
    batch["attention_mask"] = torch.stack([padded(torch.ones_like(row["input_ids"]), 0) for row in rows])
    return {k: v.to(vlm.device) for k, v in batch.items()}


def _together(vlm: VisionLanguageModel, samples: Sequence[Sample]) -> list[list[Sample]]:
    """What goes to the processor in one call: where pictures have parts, a batch is padded or run together there."""
    return [list(samples)] if vlm.family.layout == "picture" else [[sample] for sample in samples]


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
    row = {k: torch.cat([v, v.new_zeros(len(answer))]) if k in OF_TOKENS else v for k, v in prompt.items()}
    told = torch.cat([torch.full_like(ids, IGNORE), answer])
    return row | {"input_ids": torch.cat([ids, answer]), "labels": told}


class EncodedData(torch.utils.data.Dataset[Batch]):
    """A data set as tensors, each sample prepared when it is first asked for and then kept (see `RowStore`).

    Args:
        vlm: whose processor and template are used.
        data: the samples.
        keep_bytes: memory that encoded samples, and separately tower features, may take.
        spill_bytes: disk that encoded samples may take beyond that.

    Attributes:
        cut: indices of the samples, of those prepared so far, whose answers were cut to the model's context.
        features: what the frozen tower makes of the pictures, once `keep_features` kept it.
    """

    def __init__(
        self, vlm: VisionLanguageModel, data: Dataset, keep_bytes: int = KEEP_BYTES, spill_bytes: int = SPILL_BYTES
    ) -> None:
        if len(data) == 0:
            raise PcvrError("the data set is empty: give at least one sample.")
        self.vlm, self.data, self.keep_bytes = vlm, data, keep_bytes
        self.store = RowStore(keep_bytes, spill_bytes)
        self.cut: set[int] = set()
        self.features: Tensor | None = None

    def __len__(self) -> int:
        return len(self.data)

    def row(self, index: int) -> Batch:
        """Sample `index` with its picture, whether or not tower features are kept."""
        return self.rows([index])[0]

    def rows(self, indices: Iterable[int]) -> list[Batch]:
        """As `row`, for some samples at a time."""
        wanted = [int(i) for i in indices]
        once = list(dict.fromkeys(wanted))
        found = dict(zip(once, self._rows(once), strict=True))
        return [found[i] for i in wanted]

    def stream(self, indices: Iterable[int]) -> Iterator[Batch]:
        """The samples at `indices`, which are distinct, one after the other: as many are read as are in use."""
        wanted = [int(i) for i in indices]
        return (self._item(i, row) for i, row in zip(wanted, self._rows(wanted), strict=True))

    def _rows(self, wanted: Sequence[int]) -> Iterator[Batch]:
        missing = ((i, self.data[i]) for i in wanted if i not in self.store)
        fresh = prepared(self.vlm, missing, encode_samples)
        for index in wanted:
            row = self.store.get(index)
            while row is None:  # another reader may have put some in meanwhile, so what comes may be further back
                place, row = next(fresh)
                self.store.put(place, row)
                if was_cut(self.vlm, row):
                    self.cut.add(place)
                row = row if place == index else self.store.get(index)
            yield row

    def _item(self, index: int, row: Batch) -> Batch:
        row = row | {"index": torch.tensor(index)}
        if self.features is not None:
            row["features"] = self.features[index]
            del row["pixel_values"]
        return row

    def __getitem__(self, index: int) -> Batch:
        return self._item(index, self.row(index))

    def __getitems__(self, indices: Sequence[int]) -> list[Batch]:
        """Several samples at a time, as a DataLoader asks for them."""
        return [self._item(i, row) for i, row in zip(indices, self.rows(indices), strict=True)]

    def view(
        self, indices: Sequence[int], donors: Sequence[int], view: PatchView, generator: torch.Generator
    ) -> Tensor:
        """``pixel_values`` of a view of some samples, collated; patches for the swap operator come from `donors`."""
        rows = self.rows([*indices, *donors])
        count = len(indices)
        return _joined("pixel_values", viewed(self.vlm, rows[:count], rows[count:], view, generator))

    def batch(self, indices: Sequence[int]) -> Batch:
        """Some samples, collated."""
        return collate(self.__getitems__(indices), self.vlm.tokenizer.pad_token_id)

    def keep_features(self, batch_size: int = 64, progress: bool = False) -> bool:
        """Run the frozen tower once over everything and keep what it gives; returns False where that takes too much,
        or where not all pictures have as many tiles.

        Args:
            batch_size: pictures at a time.
            progress: whether a bar is shown when it takes longer than two seconds.
        """
        from tqdm.auto import tqdm

        from pcvr.models.tower import tower_features

        # What the first sample takes only says whether trying is worth while; what is kept is counted by the store.
        if self.vlm.family.layout == "patches" or row_bytes(self.row(0)) * len(self) > self.keep_bytes:
            return False
        features: Tensor | None = None
        with tqdm(
            total=len(self), desc="read the data", unit="sample", delay=2, disable=not progress, leave=False
        ) as bar:
            for start in range(0, len(self), batch_size):
                part = range(start, min(start + batch_size, len(self)))
                rows = self.rows(part)
                shapes = {row["pixel_values"].shape for row in rows} | {self.row(0)["pixel_values"].shape}
                if len(shapes) > 1 or not all(map(self.store.in_memory, part)):
                    return False
                block = tower_features(self.vlm, torch.stack([row["pixel_values"] for row in rows]))
                if features is None:
                    if block[0].numel() * block.element_size() * len(self) > self.keep_bytes:
                        return False
                    features = block.new_empty(len(self), *block.shape[1:])
                features[start : part.stop] = block
                bar.update(len(part))
        self.features = features  # [N, tokens, width], or [N, tiles, tokens, width]
        return True

    def close(self) -> None:
        """Give the scratch file back: what lay there is prepared again when it is asked for."""
        self.store.close()


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
