"""What all readers of files share: images found in a folder, all problems reported at once, samples read lazily."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import ClassVar, TypedDict

import numpy as np

from pcvr.data.folder import PictureFolder, as_named, likeliest_root
from pcvr.data.pictures import read_picture
from pcvr.data.reader import Reader, checking
from pcvr.data.records import Records
from pcvr.data.report import UNREADABLE, BadData, EntryError, Report
from pcvr.data.sample import Sample
from pcvr.data.subset import position
from pcvr.errors import PcvrError
from pcvr.tasks import get_task


class Options(TypedDict, total=False):
    """Keyword arguments of every :class:`Photographs`."""

    skip_bad: bool
    check_pictures: bool
    follow_links: bool


class Photographs(Reader):
    """Photographs with texts from annotation files, as a :class:`~pcvr.data.sample.Dataset`.

    Samples are in the order of the file. Images are decoded when they are asked for, to uint8 ``[H, W, 3]`` RGB at
    their own size. A subclass implements :meth:`_read` for its format.

    Attributes:
        path: the annotation file.
        image_folder: folder that the images' names are relative to.
        report: problems of the entries that were left out (only after ``skip_bad=True``), and notes.
    """

    noun: str = "record"
    """What the report calls an entry of the file."""
    has_questions: ClassVar[bool | None] = False
    """Whether the data ask their own questions, as some tasks need and others forbid; None: each file decides."""

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
            path: the annotation file.
            images: the folder of images; for COCO's also the parent of ``train2014/`` and the like. By default the
                folder near `path` that holds most of the first images.
            task: a key of :data:`pcvr.tasks.TASKS`; one with a prompt of its own for captions, without for questions.
            skip_bad: leave out entries with problems, and keep the report.
            check_pictures: decode every image now.
            follow_links: whether links may lead out of the folder of images.

        Raises:
            BadData: an entry has a problem and `skip_bad` is off, or no entry is usable. The message has the first
                ten problems and their number.
            PcvrError: missing file or folder, invalid content, unknown or unfit task, no sample in the split.
        """
        self.path = path = Path(path).expanduser()
        self._source, self._task = path.stem, task
        asks = get_task(task).prompt is None
        if self.has_questions not in (None, asks):
            holds = f"captions and no questions, which the task {task!r} needs"
            if self.has_questions:
                holds = f"questions, which the task {task!r} does not ask"
            raise PcvrError(f"{path} holds {holds}: leave the task out.")
        self._records = records = Records(Report(str(path)), self.noun)
        digest = self._read(records)
        self.report = records.report
        if not len(records) and not self.report:
            what = "no samples" if self._split == "all" else f"no samples in its {self._split} split"
            noted = f" ({records.report.noted()})" if records.report.notes else ""
            raise PcvrError(f"{path} holds {what}{noted}: give another file or split.")
        self.image_folder = self._folder_of_images(images)
        if not self.image_folder.is_dir():
            raise PcvrError(f"the image folder {self.image_folder} of {path} is not a folder: give the right one.")
        self._pictures = PictureFolder(self.image_folder, self.places, follow_links)
        self._find_images()
        if check_pictures:
            self._decode_images()
        records.done()
        self._labels = records.splits
        self._row_of = rows = records.usable()
        if self.report and not skip_bad:
            raise BadData(self.report)
        if not rows.size:
            raise BadData(self.report, "no usable entry is left: correct them")
        whole = rows.size == len(records) and not self.report and self._split == "all"
        self._fingerprint = digest[:16] if whole else _hash(digest, self._split, rows)

    def _read(self, records: Records) -> str:
        """Fill `records` from the file, references sorted; return the hexadecimal SHA-256 of what was read."""
        raise NotImplementedError

    def __getitem__(self, index: int, /) -> Sample:
        row = int(self._row_of[position(index, len(self))])
        identity, prompt, answer, references = self._records.texts(row)
        # By the row, not the index: leaving out an image does not change the answers of the others.
        answer = answer or references[row % len(references)]
        system, later = self._records.talk(row)
        return Sample(
            id=identity,
            image=self._image(row),
            prompt=prompt or get_task(self._task).prompt or "",
            answer=answer,
            references=references or (answer,),
            facts=self._records.facts(row),
            system=system,
            later=later,
        )

    def fingerprint(self) -> str:
        """Return 16 hex digits of a SHA-256 over the annotation files and the rows in use; no image is read."""
        return self._fingerprint

    @staticmethod
    def places(name: str) -> Iterable[str]:
        """Return the paths in the image folder at which image `name` may be, the likeliest first."""
        return as_named(name)

    @staticmethod
    def near(path: Path) -> Sequence[Path]:
        """Return the folders in which the images of annotation file `path` may be, the likeliest first."""
        return path.parent, path.parent / "images"

    def _split_keys(self) -> Iterable[str]:
        return (self._records.pictures[row].rpartition("/")[2] for row in self._row_of)

    def _folder_of_images(self, images: str | Path | None) -> Path:
        if images is not None:
            return Path(images).expanduser()
        names = (self._records.pictures[row] for row in range(len(self._records)))
        return likeliest_root(self.near(self.path), names, self.places)

    def _find_images(self) -> None:
        """Replace each image's name by its path in the folder; report each image that is not found, once."""
        records, names = self._records, self._records.pictures
        found = type(names)()
        bad: set[str] = set()
        for row in range(len(names)):
            name, place = names[row], ""
            try:
                place = self._pictures.find(name)
                found.append(place)
            except EntryError as error:
                found.append("")
                records.spoil(row)
                if name not in bad:
                    bad.add(name)
                    records.problem(row, error.kind, str(error))
        self._pictures.forget()
        records.pictures = found

    def _decode_images(self) -> None:
        problems: dict[str, str] = {"": ""}  # by name; an image that was not found is reported already
        for row in checking(range(len(self._records))):
            name = self._records.pictures[row]
            if name not in problems:
                try:
                    read_picture(self._pictures.path(name))
                    problems[name] = ""
                except PcvrError as error:
                    problems[name] = str(error)
                    self._records.problem(row, UNREADABLE, problems[name])
            if problems[name]:
                self._records.spoil(row)

    def _image(self, row: int) -> np.ndarray:
        try:
            return read_picture(self._pictures.path(self._records.pictures[row]))
        except PcvrError as error:
            raise PcvrError(
                f"{self._records.label_of(row)} of {self.path}: {str(error).rstrip('.')}. Open the data with "
                "check_pictures=True to find every such image at once, and with skip_bad=True to leave them out."
            ) from error


def _hash(digest: str, split: str, rows: np.ndarray) -> str:
    return hashlib.sha256(f"{digest} {split} ".encode() + rows.astype("<i4").tobytes()).hexdigest()[:16]
