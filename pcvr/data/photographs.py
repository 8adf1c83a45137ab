"""What all readers of files share: pictures found in a folder, problems all at once, samples read when asked for."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np

from pcvr.data.folder import PictureFolder, as_named, likeliest_root
from pcvr.data.pictures import read_picture
from pcvr.data.records import Records
from pcvr.data.report import UNREADABLE, BadData, EntryError, Problem, Report
from pcvr.data.sample import Dataset, Sample
from pcvr.data.split import canonical, own_splits, split_by_key
from pcvr.data.subset import Subset, position
from pcvr.errors import PcvrError
from pcvr.tasks import get_task

_BAR_AFTER = 2.0


class Photographs:
    """Photographs with texts from annotation files, as a :class:`~pcvr.data.sample.Dataset`.

    Samples are in the order of the file. Pictures are decoded when asked for, to uint8 ``[H, W, 3]`` RGB at their own
    size. A subclass reads its format in ``__init__`` and hands what it found to this one.

    Attributes:
        path: the annotation file.
        image_folder: what the pictures' names are relative to.
        report: what was wrong with the data; not empty only after ``skip_bad=True``.
    """

    format: ClassVar[str] = "photographs"

    def __init__(
        self,
        path: Path,
        task: str,
        records: Records,
        digest: str,
        images: str | Path | None,
        *,
        split: str = "all",
        skip_bad: bool = False,
        check_pictures: bool = False,
        follow_links: bool = False,
    ) -> None:
        """
        Args:
            path: the annotation file.
            task: what is asked of the pictures.
            records: what was read from it, references sorted.
            digest: hash of the annotation files, hexadecimal.
            images: the folder of pictures; by default the likeliest near `path`.
            split: which split of a file that has splits `records` are.
            skip_bad: leave out what cannot be used, and keep the report.
            check_pictures: decode every picture now.
            follow_links: whether links may lead out of the folder of pictures.

        Raises:
            BadData: something cannot be used and `skip_bad` is off, or nothing can be used.
            PcvrError: unknown task, no such folder, or nothing in the split.
        """
        get_task(task)
        self.path = path
        self.report: Report = records.report
        self._task, self._split, self._records = task, split, records
        if not len(records) and not self.report:
            what = "no samples" if split == "all" else f"no samples in its {split} split"
            noted = f" ({records.report.noted()})" if records.report.notes else ""
            raise PcvrError(f"{path} holds {what}{noted}: give another file or split.")
        self.image_folder = self._folder_of_pictures(images)
        if not self.image_folder.is_dir():
            raise PcvrError(f"the image folder {self.image_folder} of {path} is not a folder: give the right one.")
        self._pictures = PictureFolder(self.image_folder, self.places, follow_links)
        self._find_pictures()
        if check_pictures:
            self._decode_pictures()
        records.done()
        self._rows = records.usable()
        if self.report and not skip_bad:
            raise BadData(self.report)
        if not self._rows.size:
            raise BadData(self.report, "nothing usable is left without: put them right")
        whole = self._rows.size == len(records) and not self.report and split == "all"
        self._fingerprint = digest[:16] if whole else _hash(digest, split, self._rows)

    @property
    def name(self) -> str:
        return f"{self.format}:{self.path.stem}" + ("" if self._split == "all" else f":{self._split}")

    @property
    def task(self) -> str:
        return self._task

    @property
    def problems(self) -> list[Problem]:
        """What was left out and why, after ``skip_bad=True``."""
        return self.report.problems

    @property
    def splits(self) -> dict[str, int]:
        """The splits that the file gives its samples, and how many each has; empty where it gives none."""
        labels = self._records.splits
        return dict(Counter(label for row in self._rows if (label := labels[row]))) if labels else {}

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int, /) -> Sample:
        row = int(self._rows[position(index, len(self._rows))])
        identity, prompt, answer, references = self._records.texts(row)
        # By the row, not the index: a picture that is left out does not change the answers of the others.
        answer = answer or references[row % len(references)]
        return Sample(
            id=identity,
            image=self._read(row),
            prompt=prompt or get_task(self._task).prompt or "",
            answer=answer,
            references=references or (answer,),
            facts=self._records.facts(row),
        )

    def fingerprint(self) -> str:
        """16 hex digits of a SHA-256 over the annotation files and over what was left out of them.

        The pictures are not read for it.
        """
        return self._fingerprint

    def split(self, name: str) -> Dataset:
        """The samples of one split; ``"all"`` is the whole.

        Where the file says which split a sample is in, that is it. Otherwise about 80 % are train, 10 % validation and
        10 % test, by a hash of the picture's file name alone: adding samples moves no other, and all questions about
        one picture stay on one side.

        Raises:
            PcvrError: for an unknown split, or one that holds no sample.
        """
        labels, held = self._records.splits, self.splits
        if not held or name == "all":
            return split_by_key(self, (self._records.pictures[row].rpartition("/")[2] for row in self._rows), name)
        wanted = own_splits(name, held, self.name)
        indices = [index for index, row in enumerate(self._rows) if labels[row] in wanted]
        return Subset(self, indices, label=canonical(name))

    @staticmethod
    def places(name: str) -> Iterable[str]:
        """Where in the image folder a picture of that name may lie, the likeliest first."""
        return as_named(name)

    @staticmethod
    def near(path: Path) -> Sequence[Path]:
        """Folders in which to look for the pictures of an annotation file `path`, the likeliest first."""
        return path.parent, path.parent / "images"

    def _folder_of_pictures(self, images: str | Path | None) -> Path:
        if images is not None:
            return Path(images).expanduser()
        names = (self._records.pictures[row] for row in range(len(self._records)))
        return likeliest_root(self.near(self.path), names, self.places)

    def _find_pictures(self) -> None:
        """Put the picture's path in the folder in place of its name, or note why not: once for each picture."""
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

    def _decode_pictures(self) -> None:
        from tqdm.auto import tqdm

        said: dict[str, str] = {"": ""}
        rows: Iterable[int] = range(len(self._records))
        for row in tqdm(rows, desc="checking pictures", unit="picture", delay=_BAR_AFTER):
            name = self._records.pictures[row]
            if name not in said:
                try:
                    read_picture(self._pictures.path(name))
                    said[name] = ""
                except PcvrError as error:
                    said[name] = str(error)
                    self._records.problem(row, UNREADABLE, said[name])
            if said[name]:
                self._records.spoil(row)

    def _read(self, row: int) -> np.ndarray:
        try:
            return read_picture(self._pictures.path(self._records.pictures[row]))
        except PcvrError as error:
            raise PcvrError(
                f"{self._records.label_of(row)} of {self.path}: {str(error).rstrip('.')}. Open the data with "
                "check_pictures=True to find every such picture at once, and with skip_bad=True to go on without them."
            ) from error


def _hash(digest: str, split: str, rows: np.ndarray) -> str:
    return hashlib.sha256(f"{digest} {split} ".encode() + rows.astype("<i4").tobytes()).hexdigest()[:16]
