"""Splits: those that the data state, under any usual name, and splits by hash for data without."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping

from pcvr.data.sample import Dataset
from pcvr.data.subset import Subset
from pcvr.errors import PcvrError, cut, shown
from pcvr.utils.checks import check_choice

SPLITS = ("train", "validation", "test", "all")
SYNONYMS: Mapping[str, str] = {
    "train": "train",
    "training": "train",
    "val": "validation",
    "valid": "validation",
    "dev": "validation",
    "validation": "validation",
    "test": "test",
    "testing": "test",
}
"""Usual split name to the name here."""

_LEFT_OVER = {"restval": "train"}  # the part of COCO's validation images that is used for training
_PARTS = {"train": "80 %", "validation": "10 %", "test": "10 %"}
_SHOWN = 8


def canonical(name: object) -> str:
    """Return the name here of a usual split name; any other name is returned unchanged."""
    return SYNONYMS.get(str(name).strip().lower(), str(name))


def label(stated: object) -> str:
    """Return the name here of a split that the data state; COCO's ``restval`` counts as train."""
    found = canonical(stated)
    return _LEFT_OVER.get(found, found)


def known_split(name: object) -> str:
    """Return the canonical name of one of `SPLITS`.

    Raises:
        PcvrError: unknown split.
    """
    found = canonical(name) if isinstance(name, str) else name
    check_choice("split", found, SPLITS)
    return str(found)


def own_splits(name: object, held: Mapping[str, int], what: str) -> set[str]:
    """Return the data's own splits that match `name`: the same name, or one with the same meaning.

    Args:
        name: the requested split; not ``"all"``.
        held: number of samples in each split of the data.
        what: the data's name in messages.

    Raises:
        PcvrError: no split matches.
    """
    found = {each for each in held if each == name or label(each) == canonical(name)}
    if found:
        return found
    there = ", ".join(f"{each} ({count})" for each, count in list(held.items())[:_SHOWN])
    more = f" and {len(held) - _SHOWN} more" if len(held) > _SHOWN else ""
    raise PcvrError(
        f"{what} has no split {shown(name)}: it has {cut(there, 200)}{more}; give one of these, or split='all'."
    )


def split_by_key(dataset: Dataset, keys: Iterable[str], name: str) -> Dataset:
    """Return about 80 % of `dataset` as ``"train"``, 10 % as ``"validation"`` or ``"test"``; ``"all"`` is the whole.

    The part's name says how it was split: ``"llava-json:cats:train (80 % by hash)"``.

    Args:
        dataset: the data.
        keys: one a sample, in order; samples with the same key stay in one split.
        name: the split.

    Raises:
        PcvrError: for an unknown split, or one without samples.
    """
    wanted = known_split(name)
    if wanted == "all":
        return dataset
    indices = [i for i, key in enumerate(keys) if _split_of(key) == wanted]
    if not indices:
        raise PcvrError(
            f"the {wanted} split of {dataset.name} holds none of its {len(dataset)} samples: "
            "add some, or use split='all'."
        )
    return Subset(dataset, indices, label=f"{wanted} ({_PARTS[wanted]} by hash)")


def _split_of(key: str) -> str:
    position = int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big") / 2**64
    return "train" if position < 0.8 else "validation" if position < 0.9 else "test"
