"""Splits of data that come without any: by a hash of a key of each sample, so that adding samples moves no other."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from pcvr.checks import check_choice
from pcvr.data.sample import Dataset
from pcvr.data.subset import Subset
from pcvr.errors import PcvrError

SPLITS = ("train", "validation", "test", "all")


def split_by_key(dataset: Dataset, keys: Iterable[str], name: str) -> Dataset:
    """About 80 % of `dataset` as ``"train"``, 10 % as ``"validation"``, 10 % as ``"test"``; ``"all"`` is the whole.

    Args:
        dataset: what is split.
        keys: one for each sample, in order; samples with the same key stay on one side.
        name: which split.

    Raises:
        PcvrError: for an unknown split, or one that holds no sample.
    """
    check_choice("split", name, SPLITS)
    if name == "all":
        return dataset
    indices = [i for i, key in enumerate(keys) if _split_of(key) == name]
    if not indices:
        raise PcvrError(
            f"the {name} split of {dataset.name} holds none of its {len(dataset)} samples: "
            "add some, or use split='all'."
        )
    return Subset(dataset, indices, label=name)


def _split_of(key: str) -> str:
    share = int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big") / 2**64
    return "train" if share < 0.8 else "validation" if share < 0.9 else "test"
