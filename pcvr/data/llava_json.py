"""Reader of LLaVA-style JSON: a list of records, each a picture and a conversation about it.

A record looks like this (``references`` and ``facts`` are ours and optional; other keys are ignored)::

    {"id": "cat-1", "image": "cat.png",
     "conversations": [{"from": "human", "value": "<image>\\ndescribe the image."},
                       {"from": "gpt", "value": "a cat looks to the right."}],
     "references": ["a cat looks to the right.", "a close view of a ginger cat."]}
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from pcvr.data.pictures import read_picture
from pcvr.data.sample import Dataset, Sample
from pcvr.data.split import split_by_key
from pcvr.data.subset import position
from pcvr.errors import PcvrError, unknown_name

TASKS = ("caption", "vqa")
_SHOWN = 10
_IMAGE_TOKEN = "<image>"


@dataclass(frozen=True)
class _Record:
    """One record, checked; the picture is still on disk."""

    id: str
    path: Path
    prompt: str
    answer: str
    references: tuple[str, ...]
    facts: Mapping[str, Any] = field(default_factory=dict)


class LlavaJson:
    """A LLaVA-style JSON with its folder of pictures, as a :class:`~pcvr.data.sample.Dataset`.

    The first human turn followed by a gpt turn is the prompt and the answer; ``<image>`` is taken out of the prompt,
    since each model's processor puts its own image tokens in. Pictures are decoded when asked for, to uint8
    ``[H, W, 3]`` RGB at their own size.
    """

    def __init__(self, json_path: str | Path, image_folder: str | Path | None = None, task: str = "caption") -> None:
        """
        Args:
            json_path: the JSON file.
            image_folder: what the records' ``image`` is relative to; by default the JSON's folder or ``images/`` in it,
                whichever holds the first picture.
            task: ``"caption"`` or ``"vqa"``.

        Raises:
            PcvrError: naming every record that cannot be used (the first ten in words, and how many in all).
        """
        if task not in TASKS:
            raise unknown_name("task", task, TASKS)
        self._task = task
        self.path = Path(json_path)
        raw = _read_bytes(self.path)
        entries = _parse(self.path, raw)
        self.image_folder = Path(image_folder) if image_folder is not None else _find_images(self.path, entries)
        if not self.image_folder.is_dir():
            raise PcvrError(f"the image folder {self.image_folder} of {self.path} is not a folder: give image_folder=.")
        self._records = _check_all(self.path, entries, self.image_folder)
        self._fingerprint = hashlib.sha256(raw).hexdigest()[:16]

    @property
    def name(self) -> str:
        return f"llava-json:{self.path.stem}"

    @property
    def task(self) -> str:
        return self._task

    def __len__(self) -> int:
        return len(self._records)

    def __getitem__(self, index: int, /) -> Sample:
        record = self._records[position(index, len(self._records))]
        return Sample(
            id=record.id,
            image=read_picture(record.path),
            prompt=record.prompt,
            answer=record.answer,
            references=record.references,
            facts=record.facts,
        )

    def fingerprint(self) -> str:
        """The first 16 hex digits of the JSON file's SHA-256 (the pictures are not read for it)."""
        return self._fingerprint

    def split(self, name: str) -> Dataset:
        """The records of one split: about 80 % train, 10 % validation, 10 % test; ``"all"`` is the whole.

        Which split a record is in depends on a hash of its picture's path alone: adding records moves no other, and all
        the questions about one picture stay on one side.

        Raises:
            PcvrError: for an unknown split, or one that holds no record.
        """
        return split_by_key(self, (record.path.name for record in self._records), name)


def _read_bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise PcvrError(f"cannot read the JSON file {path}: {error.strerror or error}.") from error


def _parse(path: Path, raw: bytes) -> list[Any]:
    try:
        entries = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise PcvrError(f"{path} is not valid JSON ({error}): a LLaVA JSON is a list of records.") from error
    if not isinstance(entries, list) or not entries:
        what = "an empty list" if entries == [] else f"a {type(entries).__name__}"
        raise PcvrError(f"{path} holds {what}: a LLaVA JSON is a list of at least one record.")
    return entries


def _find_images(path: Path, entries: list[Any]) -> Path:
    first = entries[0].get("image") if isinstance(entries[0], dict) else None
    beside = path.parent
    try:
        in_images = isinstance(first, str) and not (beside / first).is_file() and (beside / "images" / first).is_file()
    except (OSError, ValueError):  # a name no file can have: the check of the records will say so
        in_images = False
    return beside / "images" if in_images else beside


def _check_all(path: Path, entries: list[Any], folder: Path) -> list[_Record]:
    root = folder.resolve()
    records: list[_Record] = []
    problems: list[str] = []
    for number, entry in enumerate(entries):
        try:
            records.append(_check(entry, root))
        except PcvrError as error:
            identity = f" ({entry['id']!r})" if isinstance(entry, dict) and "id" in entry else ""
            problems.append(f"record {number}{identity}: {error}")
    twice = [name for name, count in Counter(record.id for record in records).items() if count > 1]
    problems += [f"the id {name!r} stands more than once" for name in twice]
    if problems:
        shown = "\n".join(f"  - {problem}" for problem in problems[:_SHOWN])
        more = f"\n  ... and {len(problems) - _SHOWN} more" if len(problems) > _SHOWN else ""
        raise PcvrError(f"{path} has {len(problems)} problem(s) in {len(entries)} records:\n{shown}{more}")
    return records


def _check(entry: Any, root: Path) -> _Record:
    if not isinstance(entry, dict):
        raise PcvrError(f"a {type(entry).__name__} where a record (an object with id, image, conversations) belongs")
    missing = [key for key in ("id", "image", "conversations") if key not in entry]
    if missing:
        raise PcvrError(f"no {', '.join(missing)}")
    identity = entry["id"]
    if isinstance(identity, bool) or not isinstance(identity, str | int) or identity == "":
        raise PcvrError(f"id is {identity!r}, not a text or a whole number")
    prompt, answer = _first_pair(entry["conversations"])
    references = entry.get("references", [answer])
    if not isinstance(references, list) or not references or not all(isinstance(text, str) for text in references):
        raise PcvrError("references is not a list of at least one text")
    facts = entry.get("facts", {})
    if not isinstance(facts, dict):
        raise PcvrError("facts is not an object")
    return _Record(str(identity), _inside(entry["image"], root), prompt, answer, tuple(references), facts)


def _first_pair(turns: Any) -> tuple[str, str]:
    if not isinstance(turns, list) or not all(
        isinstance(turn, dict) and isinstance(turn.get("from"), str) and isinstance(turn.get("value"), str)
        for turn in turns
    ):
        raise PcvrError("conversations is not a list of turns with a text 'from' and a text 'value'")
    for said, reply in pairwise(turns):
        if said["from"] == "human" and reply["from"] == "gpt":
            answer = reply["value"].strip()
            if not answer:
                raise PcvrError("the gpt answer is empty")
            return said["value"].replace(_IMAGE_TOKEN, "").strip(), answer
    raise PcvrError("conversations has no human turn followed by a gpt turn")


def _inside(image: Any, root: Path) -> Path:
    """The picture's path, which must be a file inside ``root`` even after links are followed."""
    if not isinstance(image, str) or not image or "\0" in image:
        raise PcvrError(f"image is {image!r}, not the path of one picture")
    windows = PureWindowsPath(image)  # a file made on Windows may carry C:\ or ..\ where Linux sees a plain name
    if PurePosixPath(image).is_absolute() or windows.drive or windows.root or ".." in windows.parts:
        raise PcvrError(f"image {image!r} leaves the image folder: give a path relative to it, without '..'")
    try:
        target = (root / image).resolve()
        found = target.is_file()
    except (OSError, RuntimeError):
        found = False
    if not found:
        raise PcvrError(f"image {image!r} is not a file in {root}")
    if not target.is_relative_to(root):
        raise PcvrError(f"image {image!r} is a link that leaves the image folder")
    return target
