"""The figures of all samples on disk, in shards: an audit that was killed goes on, and memory stays flat.

A shard has some hundred samples and is written whole or not at all. Only plain numbers are kept, in safetensors.
Columns with one number a sample are read as a whole; wide ones (images, tokens) only for the rows that are asked for.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pcvr.auditing.scoring import Scores
from pcvr.errors import PcvrError
from pcvr.utils.files import read_json, write_bytes, write_json

PLAN = "plan.json"
SHARD = 256
"""Samples of a shard."""


class ScoreStore:
    """A folder of shards, for one plan: data, model and options.

    Args:
        folder: it is made where it is missing.
        plan: what the scores depend on, plain values.
        count: samples of the data.

    Raises:
        PcvrError: the folder holds scores of another plan or something else, or cannot be written.
    """

    def __init__(self, folder: str | Path, plan: Mapping[str, Any], count: int) -> None:
        self.folder, self.plan, self.count = Path(folder), dict(plan), count
        file = self.folder / PLAN
        if file.is_file():
            known = read_json(file, "the plan of the scores")
            if known != self.plan:
                named = ", ".join(key for key in sorted({*known, *plan}) if known.get(key) != self.plan.get(key))
                raise PcvrError(
                    f"{self.folder} holds the scores of another audit (other {named}): give another folder, or remove "
                    "this one."
                )
        else:
            if self.folder.is_dir() and any(self.folder.iterdir()):
                raise PcvrError(f"{self.folder} exists and holds no scores of an audit: give another folder.")
            write_json(file, self.plan)

    @property
    def shards(self) -> int:
        """Number of shards of the whole data."""
        return -(-self.count // SHARD)

    def rows_of(self, shard: int) -> range:
        """Return the samples of a shard."""
        return range(shard * SHARD, min((shard + 1) * SHARD, self.count))

    def missing(self) -> list[int]:
        """Return the shards that are not there yet."""
        return [shard for shard in range(self.shards) if not self.path(shard).is_file()]

    def path(self, shard: int) -> Path:
        """Return the file of a shard."""
        return self.folder / f"scores-{shard:06d}.safetensors"

    def write(self, shard: int, scores: Scores, ids: Sequence[str]) -> None:
        """Write a shard whole or not at all; `ids` are the samples' own."""
        from safetensors.numpy import save

        blocks = [text.encode("utf-8", "backslashreplace") for text in ids]
        text = np.frombuffer(b"".join(blocks), dtype=np.uint8)
        ends = np.cumsum([len(block) for block in blocks]).astype(np.int64)
        # A slice would be written with the bytes of the whole array that it is a view of.
        whole = {name: np.ascontiguousarray(values) for name, values in scores.items()}
        write_bytes(self.path(shard), save({**whole, "ids": text, "id_ends": ends}))

    def read(self, shard: int, *names: str) -> Scores:
        """Return columns of a shard; those that it does not have are left out.

        Raises:
            PcvrError: the file is damaged.
        """
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(self.path(shard), "numpy") as file:
                return {name: file.get_tensor(name) for name in names if name in file.keys()}  # noqa: SIM118
        except (OSError, SafetensorError) as problem:
            raise PcvrError(
                f"{self.path(shard)} is damaged ({problem}): remove it, and the same call scores these samples again."
            ) from problem

    def each(self, *names: str) -> Iterator[tuple[np.ndarray, Scores]]:
        """Yield the row numbers and columns of each shard."""
        for shard in range(self.shards):
            yield np.array(self.rows_of(shard)), self.read(shard, *names)

    def column(self, name: str) -> np.ndarray | None:
        """Return a column of all samples, or None if the scores have no such column."""
        parts = [columns[name] for _, columns in self.each(name) if name in columns]
        return np.concatenate(parts) if len(parts) == self.shards else None

    def rows(self, name: str, index: np.ndarray) -> np.ndarray:
        """Return the values of some samples, in the order of `index`, which need not ascend; narrow rows get zeros."""
        parts: dict[int, np.ndarray] = {}
        shard_of = np.asarray(index) // SHARD
        for shard in np.unique(shard_of).tolist():
            block = self.read(shard, name)[name]
            for place in np.flatnonzero(shard_of == shard):
                parts[int(place)] = block[int(index[place]) - shard * SHARD]
        if not parts:
            return np.zeros((0, 1))
        width = max(np.size(part) for part in parts.values())
        ordered = [parts[place] for place in range(len(index))]
        if ordered[0].ndim == 0:
            return np.array(ordered)
        return np.stack([np.pad(part, (0, width - len(part))) for part in ordered])

    def ids(self) -> list[str]:
        """Return the samples' own ids."""
        found: list[str] = []
        for _, columns in self.each("ids", "id_ends"):
            text, start = columns["ids"].tobytes(), 0
            for end in columns["id_ends"].tolist():
                found.append(text[start:end].decode("utf-8"))
                start = end
        return found
