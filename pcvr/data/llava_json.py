"""Reader of LLaVA-style JSON: a list of records, each a picture and a conversation about it.

A record looks like this (``references`` and ``facts`` are ours and optional; other keys are ignored)::

    {"id": "cat-1", "image": "cat.png",
     "conversations": [{"from": "human", "value": "<image>\\ndescribe the image."},
                       {"from": "gpt", "value": "a cat looks to the right."}],
     "references": ["a cat looks to the right.", "a close view of a ginger cat."]}

A file of JSON lines, one record a line, is read as well; ``.jsonl`` is how its name usually ends.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from pcvr.data.folder import check_name
from pcvr.data.photographs import Photographs
from pcvr.data.records import Records
from pcvr.data.report import BROKEN, EMPTY, EntryError, Report
from pcvr.data.stream import JsonFile, json_lines
from pcvr.data.texts import encoded
from pcvr.errors import PcvrError
from pcvr.tasks import get_task

LINES = (".jsonl", ".ndjson")
"""How the names of JSON-lines files end."""

_KEYS = ("id", "image", "conversations")
_IMAGE_TOKEN = "<image>"
_T = TypeVar("_T")


class LlavaJson(Photographs):
    """A LLaVA-style JSON with its folder of pictures, as a :class:`~pcvr.data.sample.Dataset`.

    The first human turn followed by a gpt turn is the prompt and the answer; ``<image>`` is taken out of the prompt,
    since each model's processor puts its own image tokens in. Where nothing is left of it, the task's prompt is asked.
    """

    format: ClassVar[str] = "llava-json"

    def __init__(
        self,
        json_path: str | Path,
        image_folder: str | Path | None = None,
        task: str = "caption",
        *,
        lines: bool | None = None,
        skip_bad: bool = False,
        check_pictures: bool = False,
    ) -> None:
        """
        Args:
            json_path: the JSON file.
            image_folder: what the records' ``image`` is relative to; by default the JSON's folder or ``images/`` in it,
                whichever holds most of the first pictures.
            task: what is asked, a key of :data:`pcvr.tasks.TASKS`.
            lines: whether it is a file of JSON lines; by default what its name says.
            skip_bad: leave out what cannot be used, and keep the report.
            check_pictures: decode every picture now.

        Raises:
            BadData: naming every record that cannot be used (the first ten in words, and how many in all).
            PcvrError: no such file or folder, no valid JSON, or an unknown task.
        """
        get_task(task)
        path = Path(json_path).expanduser()
        in_lines = path.suffix.lower() in LINES if lines is None else lines
        records = Records(Report(str(path)), "line" if in_lines else "record")
        digest = _read_lines(path, records) if in_lines else _read_list(path, records)
        super().__init__(path, task, records, digest, image_folder, skip_bad=skip_bad, check_pictures=check_pictures)


def _read_list(path: Path, records: Records) -> str:
    expected = "a LLaVA JSON is a list of at least one record"
    with JsonFile(path) as file:
        if file.top == "{":
            raise PcvrError(f"{path} holds a dict: {expected}; name a file of JSON lines .jsonl.")
        for _, number, entry in file:
            if number < 0:
                raise PcvrError(f"{path} holds a {type(entry).__name__}: {expected}.")
            records.report.looked["records"] += 1
            _read_record(records, number, entry)
    if not records.report.looked:
        raise PcvrError(f"{path} holds an empty list: {expected}.")
    records.references.sort(len(records))
    return file.digest.hexdigest()


def _read_lines(path: Path, records: Records) -> str:
    digest = hashlib.sha256()
    for number, entry, wrong in json_lines(path, digest):
        records.report.looked["lines"] += 1
        if wrong:
            records.report.add(BROKEN, records.label(number), wrong)
        else:
            _read_record(records, number, entry)
    if not records.report.looked:
        raise PcvrError(f"{path} is empty: a file of JSON lines has one record a line, with {', '.join(_KEYS)}.")
    records.references.sort(len(records))
    return digest.hexdigest()


def _read_record(records: Records, number: int, entry: Any) -> None:
    """Add a record; all that is wrong with it is reported, not only what is found first."""
    if not isinstance(entry, dict):
        what = f"a {type(entry).__name__} where a record (an object with {', '.join(_KEYS)}) belongs"
        records.report.add(BROKEN, records.label(number), what)
        return
    given = entry.get("id")
    problems: list[EntryError] = []

    def tried(key: str, check: Callable[[Any], _T]) -> _T | None:
        try:
            return check(entry[key]) if key in entry else None
        except EntryError as error:
            problems.append(error)
            return None

    missing = [key for key in _KEYS if key not in entry]
    if missing:
        problems.append(EntryError(BROKEN, f"no {', '.join(missing)}"))
    identity = tried("id", records.identity) or ""
    image = tried("image", _image)
    prompt, answer = tried("conversations", _first_pair) or ("", "")
    texts: dict[str, Any] = {"prompt": prompt, "answer": answer, "references": tried("references", _references) or ()}
    facts = tried("facts", _facts)
    if image:
        try:
            records.add(number, identity, image, **texts, facts=facts, bad=bool(problems))
        except EntryError as error:
            problems.append(error)
    for problem in problems:
        records.report.add(problem.kind, records.label(number, given), str(problem))


def _image(image: Any) -> str:
    check_name(image)
    encoded(image)
    return str(image)


def _first_pair(turns: Any) -> tuple[str, str]:
    if not isinstance(turns, list) or not all(
        isinstance(turn, dict) and isinstance(turn.get("from"), str) and isinstance(turn.get("value"), str)
        for turn in turns
    ):
        raise EntryError(BROKEN, "conversations is not a list of turns with a text 'from' and a text 'value'")
    for said, reply in pairwise(turns):
        if said["from"] == "human" and reply["from"] == "gpt":
            answer = reply["value"].strip()
            if not answer:
                raise EntryError(EMPTY, "the gpt answer is empty")
            return said["value"].replace(_IMAGE_TOKEN, "").strip(), answer
    raise EntryError(BROKEN, "conversations has no human turn followed by a gpt turn")


def _references(references: Any) -> tuple[str, ...]:
    if not isinstance(references, list) or not references or not all(isinstance(text, str) for text in references):
        raise EntryError(BROKEN, "references is not a list of at least one text")
    if not any(text.strip() for text in references):
        raise EntryError(EMPTY, "the references are empty")
    return tuple(references)


def _facts(facts: Any) -> dict[str, Any]:
    if not isinstance(facts, dict):
        raise EntryError(BROKEN, "facts is not an object")
    return facts
