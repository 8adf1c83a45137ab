"""What readers of captions with splits share: the Karpathy split of COCO and Flickr30k as JSON and as a table."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Unpack

from pcvr.data.coco import coco_places
from pcvr.data.photographs import Options, Photographs
from pcvr.data.records import Records
from pcvr.data.report import BROKEN, EMPTY, UNANSWERED, EntryError
from pcvr.data.split import SPLITS, SYNONYMS, known_split, label
from pcvr.data.wording import clean_answer

_FLICKR_FOLDERS = ("flickr30k-images", "flickr30k_images")


def caption_places(name: str) -> Iterator[str]:
    """Yield the paths at which an image of COCO or Flickr30k may be."""
    yield from coco_places(name)
    file = name.rpartition("/")[2]
    for folder in _FLICKR_FOLDERS:
        yield f"{folder}/{file}"


class SplitCaptions(Photographs):
    """Captions whose file states the split of each image."""

    places = staticmethod(caption_places)

    def __init__(
        self,
        path: str | Path,
        images: str | Path | None = None,
        task: str = "caption",
        split: str = "all",
        **options: Unpack[Options],
    ) -> None:
        """
        Args:
            path, images, task, options, and errors: as :class:`~pcvr.data.photographs.Photographs`.
            split: ``"train"``, ``"validation"``, ``"test"`` or ``"all"``; images of other splits may be missing.
        """
        self._split = known_split(split)
        super().__init__(path, images, task, **options)

    def _add(self, records: Records, number: int, given: Any, name: str, split: Any, captions: Sequence[Any]) -> None:
        """Add an image with its captions and its split, unless it is in a split that is not read.

        Args:
            records: where to add it.
            number: index of the entry in the file.
            given: its id.
            name: the image's file name.
            split: its split as the file has it.
            captions: its captions, of any type.

        Raises:
            EntryError: unknown split, or an unusable id or text.
        """
        stated = label(split)
        if stated not in SPLITS or stated == "all":
            raise EntryError(BROKEN, f"split is {split!r}, not one of {', '.join(SYNONYMS)}, restval")
        if self._split not in ("all", stated):
            return
        records.report.looked[f"{records.noun}s"] += 1
        identity = records.identity(given)
        texts = []
        for place, caption in enumerate(captions):
            if text := clean_answer(caption, f"caption {place}"):
                texts.append(text)
            else:
                records.report.add(EMPTY, records.label(number, identity), f"caption {place} is empty")
        row = records.add(number, identity, name, references=texts)
        records.splits.append(stated)
        if not texts:
            records.problem(row, UNANSWERED, "it has no caption")
