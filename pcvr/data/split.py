"""Splits: those that data come with, under whatever name, and by hash for data that come without any."""

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
"""What splits are called elsewhere, and what they are called here."""

_LEFT_OVER = {"restval": "train"}  # the part of COCO's validation pictures that has come to be trained on
_PARTS = {"train": "80 %", "validation": "10 %", "test": "10 %"}
_SHOWN = 8


def canonical(name: object) -> str:
    """The name of a split as it is called here; a name that is none of the usual ones stays as it is."""
    return SYNONYMS.get(str(name).strip().lower(), str(name))


def label(said: object) -> str:
    """The split that data say a sample is in, as it is called here; COCO's ``restval`` counts as train."""
    found = canonical(said)
    return _LEFT_OVER.get(found, found)


def known_split(name: object) -> str:
    """The canonical name of a split that every data set can have, ``"all"`` among them.

    Raises:
        PcvrError: it is none.
    """
    found = canonical(name) if isinstance(name, str) else name
    check_choice("split", found, SPLITS)
    return str(found)


def own_splits(name: object, held: Mapping[str, int], what: str) -> set[str]:
    """Those of the splits that the data have which are asked for: of that very name, or of one that means the same.

    Args:
        name: what is asked for; not ``"all"``.
        held: the splits of the data and how many samples each has.
        what: the data, as the error calls them.

    Raises:
        PcvrError: there is none.
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
    """About 80 % of `dataset` as ``"train"``, 10 % as ``"validation"``, 10 % as ``"test"``; ``"all"`` is the whole.

    The part says in its name that it was split here: ``"llava-json:cats:train (80 % by hash)"``.

    Args:
        dataset: what is split.
        keys: one for each sample, in order; samples with the same key stay on one side.
        name: which split.

    Raises:
        PcvrError: for an unknown split, or one that holds no sample.
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
    share = int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big") / 2**64
    return "train" if share < 0.8 else "validation" if share < 0.9 else "test"
