"""Reader of COCO captions: one JSON with a list of images and a list of captions, and a folder of images.

::

    {"images": [{"id": 9, "file_name": "COCO_train2014_000000000009.jpg", ...}, ...],
     "annotations": [{"id": 661611, "image_id": 9, "caption": "Closeup of bins of food."}, ...]}

Chen et al. 2015, "Microsoft COCO Captions", arXiv 1504.00325; https://cocodataset.org.
"""

from __future__ import annotations

import re
from array import array
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from pcvr.data.photographs import Photographs
from pcvr.data.records import Members, Records, identity
from pcvr.data.report import BROKEN, DUPLICATE, EMPTY, STRAY, UNANSWERED, EntryError
from pcvr.data.slots import UNKNOWN, Slots
from pcvr.data.stream import JsonFile
from pcvr.data.wording import clean_answer
from pcvr.errors import PcvrError

SUBTYPES = ("train2014", "val2014", "test2014", "test2015")
_OLD = re.compile(rf"COCO_({'|'.join(SUBTYPES)})_(\d{{12}}\.jpg)")
_NEW = re.compile(r"\d{12}\.jpg")
_FOLDERS = ("train2017", "val2017", "test2017", "unlabeled2017")
_IMAGE, _CAPTION = Members("id", "file_name"), Members("image_id", "caption")


def coco_places(name: str) -> Iterator[str]:
    """Yield the paths at which a COCO image may be: as named, without its folder, in the folder of its split.

    The images of 2014 got shorter names and other splits in 2017; either release serves annotations of the other.
    """
    yield name
    folder, _, file = name.rpartition("/")
    if folder:
        yield file
    old = _OLD.fullmatch(file)
    if old:
        yield f"{old[1]}/{file}"
    elif not _NEW.fullmatch(file):
        return
    plain = old[2] if old else file
    for folder in _FOLDERS:
        yield f"{folder}/{plain}"
    if old:
        yield plain
        return
    for subtype in SUBTYPES:
        yield f"COCO_{subtype}_{plain}"
        yield f"{subtype}/COCO_{subtype}_{plain}"


def near_coco(path: Path) -> Sequence[Path]:
    """Return the usual image folders for an annotation file, which may itself be in ``annotations/``."""
    beside = path.parent
    above = (beside.parent, beside.parent / "images") if beside.name == "annotations" else ()
    return beside, beside / "images", *above


class CocoCaptions(Photographs):
    """COCO captions: one sample an image, all its captions (usually five) its references, the answer one in turn.

    The samples' ids are the image ids.
    """

    format: ClassVar[str] = "coco"
    noun = "image"
    places = staticmethod(coco_places)
    near = staticmethod(near_coco)

    def _read(self, records: Records) -> str:
        return _Reading(records).read(self.path)


class _Reading:
    """Reads the two lists, in either order."""

    def __init__(self, records: Records) -> None:
        self.records, self.report = records, records.report
        self.slots = Slots()  # of images
        self.entries = array("Q")  # index in the file of each caption that was kept
        self.seen: set[int | str] = set()

    def read(self, path: Path) -> str:
        """Fill the records and return the file's hash."""
        looked = {"images": 0, "annotations": 0}
        with JsonFile(path) as file:
            for key, number, value in file:
                if key == "annotations" and number >= 0:
                    self.annotation(number, value)
                elif key == "images" and number >= 0:
                    self.image(number, value)
                else:
                    continue
                looked[key] += 1
        self.report.looked.update(looked)
        if not all(looked.values()):
            lacking = "annotations" if looked["images"] else "images"
            raise PcvrError(f"{path} has no list of {lacking}: COCO captions have images and annotations in one file.")
        self.join()
        return file.digest.hexdigest()

    def image(self, number: int, entry: Any) -> None:
        """Add one entry of the list of images."""
        given = entry.get("id") if isinstance(entry, dict) else None
        try:
            given, file = _IMAGE(entry)
            slot, _ = self.slots.of(given)
            if self.slots.rows[slot] != UNKNOWN:
                raise EntryError(DUPLICATE, f"the id {given!r} appears more than once")
            if not isinstance(file, str) or not file:
                raise EntryError(BROKEN, f"file_name is {file!r}, not the path of one image")
            self.slots.rows[slot] = self.records.add(number, str(given), file)
        except EntryError as error:
            self.report.add(error.kind, self.records.label(number, given), str(error))
            self.slots.spoil(given)

    def annotation(self, number: int, entry: Any) -> None:
        """Add one entry of the list of annotations."""
        try:
            image, caption = _CAPTION(entry)
            own = entry.get("id")
            if own is not None:
                own = own if type(own) is int else identity(own)
                if own in self.seen:
                    raise EntryError(DUPLICATE, f"the id {own!r} appears more than once")
                self.seen.add(own)
            caption = clean_answer(caption, "caption")
            if not caption:
                raise EntryError(EMPTY, f"the caption of image {image!r} is empty")
            self.records.references.append(self.slots.of(image)[0], caption)
            self.entries.append(number)
        except EntryError as error:
            self.report.add(error.kind, f"annotation {number}", str(error))

    def join(self) -> None:
        """Assign the captions to the images; report captions without image and images without caption."""
        self.seen.clear()
        records, references = self.records, self.records.references
        rows = np.array(self.slots.rows, np.int64)
        owners = np.array(references.owners, np.int64)
        stray = np.flatnonzero(rows[owners] == UNKNOWN) if owners.size else owners
        names = self.slots.names() if stray.size else []
        for place in stray.tolist():
            what = f"there is no image with the id {names[int(owners[place])]!r}"
            self.report.add(STRAY, f"annotation {self.entries[place]}", what)
        references.sort(len(records), renamed=rows)
        for row in np.flatnonzero(references.counts() == 0).tolist():
            records.problem(row, UNANSWERED, "it has no caption")
