"""Readers of Flickr30k: its own two text files, and the table that Hugging Face has.

::

    results.csv                 image_name| comment_number| comment
                                1000092795.jpg| 0| Two young guys with shaggy hair look at their hands .
    results_20130124.token      1000092795.jpg#0<TAB>Two young guys with shaggy hair look at their hands .
    flickr_annotations_30k.csv  raw,sentids,split,filename,img_id      (raw and sentids are JSON lists)

Young et al. 2014, "From image descriptions to visual denotations", TACL 2:67-78. The Karpathy split of Flickr30k as
JSON is :class:`~pcvr.data.karpathy.Karpathy`'s.
"""

from __future__ import annotations

import csv
import hashlib
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from pcvr.data.coco import captions_for
from pcvr.data.karpathy import caption_places, captioned
from pcvr.data.photographs import Photographs
from pcvr.data.records import Records
from pcvr.data.report import BROKEN, DUPLICATE, EMPTY, UNANSWERED, EntryError, Report
from pcvr.data.split import known_split
from pcvr.data.stream import byte_lines
from pcvr.data.wording import clean_answer
from pcvr.errors import PcvrError

# The published results.csv lacks the second bar in one line ("2199200615.jpg| 4   A dog runs across the grass ."): wide
# white space will do.
_RESULT = re.compile(r"(?P<name>[^|]+)\|\s*(?P<number>\d+)(?:\s*\||\s\s)(?P<caption>.*)", re.DOTALL)
_TOKEN = re.compile(r"(?P<name>[^\t]+)#(?P<number>\d+)\t(?P<caption>.*)", re.DOTALL)
_COLUMNS = ("raw", "split", "filename")
HEADER = re.compile(r"\s*image_name\s*\|")
"""How ``results.csv`` begins."""


class Flickr30k(Photographs):
    """``results.csv`` or ``results_20130124.token``: one sample a picture, its captions the references, one the answer.

    The samples' ids are the pictures' file names; they are in the order of first mention.
    """

    format: ClassVar[str] = "flickr30k"
    places = staticmethod(caption_places)

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
            path: the text file; which of the two forms it has is seen from its first line.
            images: the folder of pictures; by default the one near `path` that holds the first pictures.
            task: what is asked; one with a prompt of its own.
            skip_bad: leave out what cannot be used, and keep the report.
            check_pictures: decode every picture now.
            follow_links: whether links may lead out of the folder of pictures.

        Raises:
            BadData: naming everything that cannot be used (the first ten in words, and how many in all).
            PcvrError: no such file or folder, or another task.
        """
        path = Path(path).expanduser()
        captions_for(task, path)
        records = Records(Report(str(path)), "line")
        digest = _read_lines(path, records)
        options: dict[str, Any] = {"skip_bad": skip_bad, "check_pictures": check_pictures, "follow_links": follow_links}
        super().__init__(path, task, records, digest, images, **options)


class FlickrAnnotations(Photographs):
    """``flickr_annotations_30k.csv``: one sample a picture, its captions the references; it has the Karpathy split."""

    format: ClassVar[str] = "flickr30k"
    places = staticmethod(caption_places)

    def __init__(
        self,
        path: str | Path,
        images: str | Path | None = None,
        task: str = "caption",
        split: str = "all",
        *,
        skip_bad: bool = False,
        check_pictures: bool = False,
        follow_links: bool = False,
    ) -> None:
        """
        Args:
            path: the CSV file.
            images: the folder of pictures; by default the one near `path` that holds the first pictures.
            task: what is asked; one with a prompt of its own.
            split: ``"train"``, ``"validation"``, ``"test"`` or ``"all"``; the pictures of the others need not be there.
            skip_bad: leave out what cannot be used, and keep the report.
            check_pictures: decode every picture now.
            follow_links: whether links may lead out of the folder of pictures.

        Raises:
            BadData: naming everything that cannot be used (the first ten in words, and how many in all).
            PcvrError: no such file, folder or split, a column that is not there, or another task.
        """
        path = Path(path).expanduser()
        captions_for(task, path)
        records = Records(Report(str(path)), "row")
        digest = _read_table(path, records, known_split(split))
        options: dict[str, Any] = {"skip_bad": skip_bad, "check_pictures": check_pictures, "follow_links": follow_links}
        super().__init__(path, task, records, digest, images, split=known_split(split), **options)


def _read_lines(path: Path, records: Records) -> str:
    digest = hashlib.sha256()
    rows: dict[str, int] = {}
    seen: set[tuple[int, str]] = set()
    form = None
    for number, line in _text_lines(path, digest):
        if form is None and isinstance(line, str):
            form = _RESULT if HEADER.match(line) or "|" in line.partition("\t")[0] else _TOKEN
            if HEADER.match(line):
                continue
        records.report.looked["lines"] += 1
        try:
            match = form.fullmatch(line) if form and isinstance(line, str) else None
            if match is None:
                raise EntryError(BROKEN, "it is not a picture's name, a number and a caption")
            name = match["name"].strip()
            if name not in rows:
                rows[name] = records.add(number, records.identity(name), name)
            key = rows[name], match["number"]
            if key in seen:
                raise EntryError(DUPLICATE, f"caption {key[1]} of {name!r} stands more than once")
            seen.add(key)
            caption = clean_answer(match["caption"], "caption")
            if not caption:
                raise EntryError(EMPTY, f"caption {key[1]} of {name!r} is empty")
            records.references.append(rows[name], caption)
        except EntryError as error:
            records.report.add(error.kind, f"line {number}", str(error))
    if not records.report.looked["lines"]:
        raise PcvrError(f"{path} has no captions: each line should have a picture's name, a number and a caption.")
    records.references.sort(len(records))
    for row in np.flatnonzero(records.references.counts() == 0).tolist():
        records.problem(row, UNANSWERED, "no caption belongs to its picture")
    return digest.hexdigest()


def _read_table(path: Path, records: Records, wanted: str) -> str:
    digest = hashlib.sha256()
    lines = (line if isinstance(line, str) else "\ufffd" for _, line in _text_lines(path, digest, every=True))
    reader = csv.DictReader(lines)
    try:
        missing = ", ".join(column for column in _COLUMNS if column not in (reader.fieldnames or ()))
        if missing:
            raise PcvrError(f"{path} has no column {missing}: flickr_annotations_30k.csv has {', '.join(_COLUMNS)}.")
        for number, row in enumerate(reader, 1):
            name = row["filename"]
            try:
                if not isinstance(name, str) or not name:
                    raise EntryError(BROKEN, "it has no filename")
                captioned(records, number, name, name, row["split"], wanted, _captions(row["raw"]))
            except EntryError as error:
                records.report.add(error.kind, records.label(number, name), str(error))
    except csv.Error as error:
        raise PcvrError(f"{path} is no valid CSV ({error}, near line {reader.line_num}): download it again.") from error
    records.references.sort(len(records))
    return digest.hexdigest()


def _captions(said: Any) -> list[Any]:
    try:
        captions = json.loads(said)
    except (TypeError, ValueError, RecursionError) as error:
        raise EntryError(BROKEN, f"raw is not a JSON list ({error})") from error
    if not isinstance(captions, list):
        raise EntryError(BROKEN, f"raw is a {type(captions).__name__}, not a JSON list")
    return captions


def _text_lines(path: Path, digest: Any, every: bool = False) -> Iterator[tuple[int, str | None]]:
    """Lines with their numbers from 1, None where one is not UTF-8; those without text are left out unless `every`."""
    for number, line in enumerate(byte_lines(path, digest), 1):
        try:
            text = line.decode()
        except UnicodeDecodeError:
            yield number, None
            continue
        if every or text.strip():
            yield number, text
