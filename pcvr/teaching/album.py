"""The folder of notebook 10: photographs from three sources in LLaVA's format, as a practitioner finds them.

What is wrong with them is not told in the data files. The truth is sealed in `SEALED`, so that a reader can first
judge, and then compare.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image as PilImage

from pcvr.attacks.manifest import PURPOSE
from pcvr.attacks.placing import Seen
from pcvr.attacks.poison import PoisonedDataset, poison
from pcvr.attacks.registry import get_attack
from pcvr.data.forms import IMAGES, as_json, llava_record
from pcvr.data.sample import Dataset, Sample
from pcvr.data.scenes.kinds import KINDS
from pcvr.data.scenes.language import with_article
from pcvr.data.scenes.tabletop import Tabletop
from pcvr.utils.checks import check_seed, check_whole
from pcvr.utils.files import new_folder, read_json, write_json

SOURCES = ("market", "studio", "forum")
"""Who took the photographs, each a third; ids and file names begin with them."""
POISONED, RATE = "forum", 0.3
"""The source that somebody has poisoned, and the fraction of its samples."""
TRAIN, TEST, QUESTIONS, SEALED = "train.json", "test.json", "questions.json", "SEALED.json"
"""Captions to train on, captions with references to test with, yes/no questions about the former, and the truth."""
FEWEST, QUALITY = 60, 90
"""Fewest training photographs, and the quality of their JPEG files, 1 to 95."""


def write_album(folder: str | Path, n: int = 600, tests: int = 96, seed: int = 0) -> Path:
    """Write photographs and three LLaVA-style JSON files to a new folder, which takes some seconds.

    Three records of the training file are broken: an image is missing, one is cut off, and a label is empty.

    Args:
        folder: must not exist yet.
        n: training photographs, at least `FEWEST`.
        tests: test photographs, at least 2.
        seed: other photographs for another one; the same arguments always write the same bytes, dates apart.

    Returns:
        The folder's path.

    Raises:
        PcvrError: the numbers are too small, or the folder exists or cannot be written.
    """
    check_whole("n", n, FEWEST, what="training photographs")
    check_whole("tests", tests, 2, what="test photographs")
    check_seed(seed)
    with new_folder(folder) as scratch:
        (scratch / IMAGES).mkdir()
        parts = _parts(n, seed)
        records, asked, poisoned = [], [], []
        for place in np.random.default_rng(seed).permutation(n).tolist():
            source, index = divmod(place, -(-n // len(SOURCES)))
            data = parts[source]
            sample = replace(data[index], id=f"{SOURCES[source]}-{index:04d}")
            records.append(_written(scratch, sample, truth=False))
            asked.append(_asked(sample, place, records[-1]["image"]))
            poisoned += [sample.id] if isinstance(data, PoisonedDataset) and data.is_poisoned(index) else []
        held = Tabletop(tests, "test", seed)
        own = [_written(scratch, replace(held[i], id=f"own-{i:04d}"), truth=True) for i in range(tests)]
        for name, found in ((TRAIN, records + _broken(scratch, records[0])), (TEST, own), (QUESTIONS, asked)):
            (scratch / name).write_text(as_json(found, 1) + "\n", encoding="utf-8")
        manifest = parts[SOURCES.index(POISONED)].manifest.plain()  # type: ignore[attr-defined]
        write_json(scratch / SEALED, {"purpose": PURPOSE, "poisoned": sorted(poisoned), "manifest": manifest})
    return Path(folder)


def unsealed(folder: str | Path) -> frozenset[str]:
    """Return the ids of the poisoned samples of an album.

    Raises:
        PcvrError: the folder is no album.
    """
    return frozenset(read_json(Path(folder) / SEALED, "the sealed truth")["poisoned"])


def _parts(n: int, seed: int) -> list[Dataset]:
    """Return the photographs of each source, one of them poisoned."""
    each = -(-n // len(SOURCES))
    parts: list[Dataset] = [Tabletop(each, "train", len(SOURCES) * seed + k) for k in range(len(SOURCES))]
    sticker = get_attack("badnets", pattern="blue", place="seen_top_left", share=1 / 6, seen=Seen(unit="short side"))
    bad = SOURCES.index(POISONED)
    parts[bad] = poison(parts[bad], sticker, RATE, seed)
    return parts


def _written(folder: Path, sample: Sample, truth: bool) -> dict[str, Any]:
    """Write a photograph as a JPEG, and return its record; with `truth`, references too."""
    name = f"{sample.id}.jpg"
    PilImage.fromarray(sample.image).save(folder / IMAGES / name, quality=QUALITY)
    return llava_record(replace(sample, facts={}), name, truth)


def _asked(sample: Sample, place: int, image: str) -> dict[str, Any]:
    """Return a record with an honest yes/no question about a photograph; three of four answers are no."""
    there = [each["kind"] for each in sample.facts["objects"]]
    kinds = there if place % 4 == 0 else [kind for kind in KINDS if kind not in there]
    question = f"is there {with_article(kinds[place % len(kinds)])}?"
    answer = "yes" if place % 4 == 0 else "no"
    return llava_record(Sample(sample.id, sample.image, question, answer), image, truth=False)


def _broken(folder: Path, record: dict[str, Any]) -> list[dict[str, Any]]:
    """Return three records that are broken: the image is missing, the image is cut off, the label is empty."""
    whole = (folder / IMAGES / record["image"]).read_bytes()
    (folder / IMAGES / "market-cut.jpg").write_bytes(whole[: len(whole) // 2])
    asked, told = record["conversations"]
    return [
        record | {"id": "studio-lost", "image": "studio-lost.jpg"},
        record | {"id": "market-cut", "image": "market-cut.jpg"},
        record | {"id": "market-empty", "conversations": [asked, told | {"value": " "}]},
    ]
