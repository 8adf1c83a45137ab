"""Reader of COCO captions: one JSON with a list of images and a list of captions, and a folder of pictures.

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
from pcvr.data.report import BROKEN, DUPLICATE, EMPTY, STRAY, UNANSWERED, EntryError, Report
from pcvr.data.slots import UNKNOWN, Slots
from pcvr.data.stream import JsonFile
from pcvr.data.wording import clean_answer
from pcvr.errors import PcvrError
from pcvr.tasks import get_task

SUBTYPES = ("train2014", "val2014", "test2014", "test2015")
_OLD = re.compile(rf"COCO_({'|'.join(SUBTYPES)})_(\d{{12}}\.jpg)")
_NEW = re.compile(r"\d{12}\.jpg")
_FOLDERS = ("train2017", "val2017", "test2017", "unlabeled2017")
_IMAGE, _CAPTION = Members("id", "file_name"), Members("image_id", "caption")


def coco_places(name: str) -> Iterator[str]:
    """Where a COCO picture may lie: as named, without the folder it is said to be in, in the folder of its split.

    The pictures of 2014 were given shorter names in 2017 and shared out anew; either release will do for the other.
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
    """Folders near an annotation file in which COCO pictures usually lie: it may stand in ``annotations/`` itself."""
    beside = path.parent
    above = (beside.parent, beside.parent / "images") if beside.name == "annotations" else ()
    return beside, beside / "images", *above


class CocoCaptions(Photographs):
    """COCO captions: one sample a picture, all its captions (five, mostly) the references, one in turn the answer.

    The samples' ids are the images'.
    """

    format: ClassVar[str] = "coco"
    places = staticmethod(coco_places)
    near = staticmethod(near_coco)

    def __init__(
        self,
        path: str | Path,
        images: str | Path | None = None,
        task: str = "caption",
        *,
        skip_bad: bool = False,
        check_pictures: bool = False,
        follow_links: bool = False,
    ) -> None:
        """
        Args:
            path: the JSON file.
            images: the folder of pictures, or the one that has ``train2014/`` and the like in it; by default the one
                near `path` that holds the first pictures.
            task: what is asked; one with a prompt of its own.
            skip_bad: leave out what cannot be used, and keep the report.
            check_pictures: decode every picture now.
            follow_links: whether links may lead out of the folder of pictures.

        Raises:
            BadData: naming everything that cannot be used (the first ten in words, and how many in all).
            PcvrError: no such file or folder, no valid JSON, or another task.
        """
        path = Path(path).expanduser()
        captions_for(task, path)
        records = Records(Report(str(path)), "image")
        digest = _Reading(records).read(path)
        options: dict[str, Any] = {"skip_bad": skip_bad, "check_pictures": check_pictures, "follow_links": follow_links}
        super().__init__(path, task, records, digest, images, **options)


class _Reading:
    """The two lists, in whichever order the file has them."""

    def __init__(self, records: Records) -> None:
        self.records, self.report = records, records.report
        self.slots = Slots()  # of images
        self.entries = array("Q")  # the place in the file of each caption kept
        self.seen: set[int | str] = set()

    def read(self, path: Path) -> str:
        """Fill the records; returns the file's hash."""
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
        """One entry of the list of images."""
        given = entry.get("id") if isinstance(entry, dict) else None
        try:
            given, file = _IMAGE(entry)
            slot, _ = self.slots.of(given)
            if self.slots.rows[slot] != UNKNOWN:
                raise EntryError(DUPLICATE, f"the id {given!r} stands more than once")
            if not isinstance(file, str) or not file:
                raise EntryError(BROKEN, f"file_name is {file!r}, not the path of one picture")
            self.slots.rows[slot] = self.records.add(number, str(given), file)
        except EntryError as error:
            self.report.add(error.kind, self.records.label(number, given), str(error))
            self.slots.spoil(given)

    def annotation(self, number: int, entry: Any) -> None:
        """One entry of the list of annotations."""
        try:
            image, caption = _CAPTION(entry)
            own = entry.get("id")
            if own is not None:
                own = own if type(own) is int else identity(own)
                if own in self.seen:
                    raise EntryError(DUPLICATE, f"the id {own!r} stands more than once")
                self.seen.add(own)
            caption = clean_answer(caption, "caption")
            if not caption:
                raise EntryError(EMPTY, f"the caption of image {image!r} is empty")
            self.records.references.append(self.slots.of(image)[0], caption)
            self.entries.append(number)
        except EntryError as error:
            self.report.add(error.kind, f"annotation {number}", str(error))

    def join(self) -> None:
        """Give each image its captions; say which captions have no image, and which images no caption."""
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
            records.problem(row, UNANSWERED, "no caption belongs to it")


def captions_for(task: str, path: Path) -> None:
    """Refuse a task whose data ask their own questions.

    Raises:
        PcvrError: the task is unknown, or is such a one.
    """
    if get_task(task).prompt is None:
        raise PcvrError(f"{path} holds captions and no questions, which the task {task!r} needs: leave the task out.")
