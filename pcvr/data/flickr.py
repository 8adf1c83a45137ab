"""Readers of Flickr30k: its two original text files, and the CSV table on Hugging Face.

::

    results.csv                 image_name| comment_number| comment
                                1000092795.jpg| 0| Two young guys with shaggy hair look at their hands .
    results_20130124.token      1000092795.jpg#0<TAB>Two young guys with shaggy hair look at their hands .
    flickr_annotations_30k.csv  raw,sentids,split,filename,img_id      (raw and sentids are JSON lists)

Young et al. 2014, "From image descriptions to visual denotations", TACL 2:67-78.
:class:`~pcvr.data.karpathy.Karpathy` reads the Karpathy split of Flickr30k as JSON.
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

from pcvr.data.photographs import Photographs
from pcvr.data.records import Records
from pcvr.data.report import BROKEN, DUPLICATE, EMPTY, UNANSWERED, EntryError
from pcvr.data.split_captions import SplitCaptions, caption_places
from pcvr.data.stream import byte_lines
from pcvr.data.wording import clean_answer
from pcvr.errors import PcvrError

# The published results.csv lacks the second bar in one line ("2199200615.jpg| 4   A dog runs across the grass ."), so
# two spaces count as a bar.
_RESULT = re.compile(r"(?P<name>[^|]+)\|\s*(?P<number>\d+)(?:\s*\||\s\s)(?P<caption>.*)", re.DOTALL)
_TOKEN = re.compile(r"(?P<name>[^\t]+)#(?P<number>\d+)\t(?P<caption>.*)", re.DOTALL)
_COLUMNS = ("raw", "split", "filename")
HEADER = re.compile(r"\s*image_name\s*\|")
"""Start of ``results.csv``."""


class Flickr30k(Photographs):
    """``results.csv`` or ``results_20130124.token``: one sample an image, its captions the references, one the answer.

    The samples' ids are the images' file names. Samples are in the order of first mention.
    """

    format: ClassVar[str] = "flickr30k"
    noun = "line"
    places = staticmethod(caption_places)

    def _read(self, records: Records) -> str:
        digest = hashlib.sha256()
        rows: dict[str, int] = {}
        seen: set[tuple[int, str]] = set()
        form = None
        for number, line in _text_lines(self.path, digest):
            if form is None and isinstance(line, str):
                form = _RESULT if HEADER.match(line) or "|" in line.partition("\t")[0] else _TOKEN
                if HEADER.match(line):
                    continue
            records.report.looked["lines"] += 1
            try:
                match = form.fullmatch(line) if form and isinstance(line, str) else None
                if match is None:
                    raise EntryError(BROKEN, "it is not an image's name, a number and a caption")
                name = match["name"].strip()
                if name not in rows:
                    rows[name] = records.add(number, records.identity(name), name)
                key = rows[name], match["number"]
                if key in seen:
                    raise EntryError(DUPLICATE, f"caption {key[1]} of {name!r} appears more than once")
                seen.add(key)
                caption = clean_answer(match["caption"], "caption")
                if not caption:
                    raise EntryError(EMPTY, f"caption {key[1]} of {name!r} is empty")
                records.references.append(rows[name], caption)
            except EntryError as error:
                records.report.add(error.kind, f"line {number}", str(error))
        if not records.report.looked["lines"]:
            raise PcvrError(f"{self.path} has no captions: a line has an image's name, a number and a caption.")
        records.references.sort(len(records))
        for row in np.flatnonzero(records.references.counts() == 0).tolist():
            records.problem(row, UNANSWERED, "its image has no caption")
        return digest.hexdigest()


class FlickrAnnotations(SplitCaptions):
    """``flickr_annotations_30k.csv``: one sample an image, its captions the references; it has the Karpathy split."""

    format: ClassVar[str] = "flickr30k"
    noun = "row"

    def _read(self, records: Records) -> str:
        digest = hashlib.sha256()
        lines = (line if isinstance(line, str) else "\ufffd" for _, line in _text_lines(self.path, digest, every=True))
        reader = csv.DictReader(lines)
        try:
            missing = ", ".join(column for column in _COLUMNS if column not in (reader.fieldnames or ()))
            if missing:
                has = ", ".join(_COLUMNS)
                raise PcvrError(f"{self.path} has no column {missing}: flickr_annotations_30k.csv has {has}.")
            for number, row in enumerate(reader, 1):
                name = row["filename"]
                try:
                    if not isinstance(name, str) or not name:
                        raise EntryError(BROKEN, "it has no filename")
                    self._add(records, number, name, name, row["split"], _captions(row["raw"]))
                except EntryError as error:
                    records.report.add(error.kind, records.label(number, name), str(error))
        except csv.Error as error:
            place = f"near line {reader.line_num}"
            raise PcvrError(f"{self.path} is not valid CSV ({error}, {place}): download it again.") from error
        records.references.sort(len(records))
        return digest.hexdigest()


def _captions(raw: Any) -> list[Any]:
    try:
        captions = json.loads(raw)
    except (TypeError, ValueError, RecursionError) as error:
        raise EntryError(BROKEN, f"raw is not a JSON list ({error})") from error
    if not isinstance(captions, list):
        raise EntryError(BROKEN, f"raw is a {type(captions).__name__}, not a JSON list")
    return captions


def _text_lines(path: Path, digest: Any, every: bool = False) -> Iterator[tuple[int, str | None]]:
    """Yield lines with their numbers from 1, None for a line that is not UTF-8; blank lines only if `every`."""
    for number, line in enumerate(byte_lines(path, digest), 1):
        try:
            text = line.decode()
        except UnicodeDecodeError:
            yield number, None
            continue
        if every or text.strip():
            yield number, text
