"""Reader of LLaVA-style JSON: a list of records, each with an image and a conversation about it.

A record (``references``, ``facts`` and ``split`` are optional; other keys are ignored)::

    {"id": "cat-1", "image": "cat.png",
     "conversations": [{"from": "human", "value": "<image>\\ndescribe the image."},
                       {"from": "gpt", "value": "a cat looks to the right."},
                       {"from": "human", "value": "What colour is it?"},
                       {"from": "gpt", "value": "ginger."}],
     "references": ["a cat looks to the right.", "a close view of a ginger cat."]}

Also read: the other forms of conversations in :mod:`pcvr.data.turns`, ``"images": ["cat.png"]``, records without an id,
and files of JSON lines, one record a line (usually ``.jsonl``).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar, TypeVar, Unpack

from pcvr.data.folder import check_name
from pcvr.data.photographs import Options, Photographs
from pcvr.data.records import Records, identity
from pcvr.data.report import BROKEN, EMPTY, SEVERAL, TEXT_ONLY, EntryError, Report
from pcvr.data.split import label
from pcvr.data.stream import JsonFile, json_lines
from pcvr.data.texts import encoded
from pcvr.data.turns import KEYS, Conversation, conversation
from pcvr.data.wording import clean_answer, clean_prompt, clean_references
from pcvr.errors import PcvrError
from pcvr.tasks import get_task

LINES = (".jsonl", ".ndjson")
"""File name endings of JSON lines."""

_RECORD = "an object with image and conversations"
_T = TypeVar("_T")


class LlavaJson(Photographs):
    """A LLaVA-style JSON with its folder of images, as a :class:`~pcvr.data.sample.Dataset`.

    Each human turn followed by a gpt turn is a sample: prompt and answer. The first has the record's id, later ones
    ``cat-1#2`` and so on; each is asked on its own, without the earlier turns. ``<image>`` is removed from both ends of
    a prompt, since each model's processor adds its own image tokens. An empty prompt becomes the task's prompt.
    ``references`` belong to the first pair, ``facts`` to all pairs.

    Repeated ids are made unique (``cat-1~2``). Turns without a partner and records without an image are left out. The
    report's notes count all three.
    """

    format: ClassVar[str] = "llava-json"
    has_questions: ClassVar[bool | None] = None

    def __init__(
        self,
        json_path: str | Path,
        image_folder: str | Path | None = None,
        task: str = "caption",
        *,
        lines: bool | None = None,
        **options: Unpack[Options],
    ) -> None:
        """
        Args:
            json_path: the JSON file.
            image_folder: the folder of images; by default the JSON's folder or ``images/`` in it, whichever holds most
                of the first images.
            task: a key of :data:`pcvr.tasks.TASKS`.
            lines: whether it is a file of JSON lines; by default the name's ending decides.
            options, and errors: as :class:`~pcvr.data.photographs.Photographs`.
        """
        self._lines = Path(json_path).suffix.lower() in LINES if lines is None else lines
        self.noun = "line" if self._lines else "record"
        super().__init__(json_path, image_folder, task, **options)

    def _read(self, records: Records) -> str:
        reading = _Reading(records, asks=get_task(self._task).prompt is None)
        return (_read_lines if self._lines else _read_list)(self.path, reading)


def entries_of(path: str | Path) -> dict[str, int]:
    """Return from which record of a file each sample comes: its id to the record's index, or the line's number.

    Images are not searched for, and records with problems have no samples.

    Raises:
        PcvrError: the file is missing, or not a LLaVA-style JSON.
    """
    path = Path(path).expanduser()
    lines = path.suffix.lower() in LINES
    records = Records(Report(str(path)), "line" if lines else "record")
    (_read_lines if lines else _read_list)(path, _Reading(records, asks=False))
    return records.entries()


def _read_list(path: Path, reading: _Reading) -> str:
    expected = "a LLaVA JSON is a list of at least one record"
    with JsonFile(path) as file:
        if file.top == "{":
            raise PcvrError(f"{path} holds a dict: {expected}; name a file of JSON lines .jsonl.")
        for _, number, entry in file:
            if number < 0:
                raise PcvrError(f"{path} holds a {type(entry).__name__}: {expected}.")
            reading.record(number, entry)
    if not reading.report.looked:
        raise PcvrError(f"{path} holds an empty list: {expected}.")
    reading.records.sort()
    return file.digest.hexdigest()


def _read_lines(path: Path, reading: _Reading) -> str:
    digest = hashlib.sha256()
    for number, entry, wrong in json_lines(path, digest):
        reading.record(number, entry, wrong)
    if not reading.report.looked:
        raise PcvrError(f"{path} is empty: a file of JSON lines has one record a line, {_RECORD}.")
    reading.records.sort()
    return digest.hexdigest()


class _Reading:
    """Makes samples of records; every problem of a record is reported, not only the first."""

    def __init__(self, records: Records, asks: bool) -> None:
        """
        Args:
            records: where to add the samples.
            asks: whether the data have to hold the questions.
        """
        self.records, self.report, self.asks = records, records.report, asks

    def record(self, number: int, entry: Any, wrong: str = "") -> None:
        """Add the samples of the record at index `number`, or report what is `wrong` with its line."""
        self.report.looked[f"{self.records.noun}s"] += 1
        if not wrong and not isinstance(entry, dict):
            wrong = f"a {type(entry).__name__} where a record ({_RECORD}) belongs"
        if wrong:
            self.report.add(BROKEN, self.records.label(number), wrong)
            return
        problems: list[EntryError] = []

        def tried(check: Callable[[Any], _T], given: Any = entry) -> _T | None:
            try:
                return check(given)
            except EntryError as error:
                problems.append(error)
                return None

        given = entry.get("id")
        own = f"{self.records.noun}-{number}" if given in (None, "") else tried(_identity, given)
        talk = tried(_conversation)
        image = tried(_picture)
        if not problems and talk and image is None:
            if not talk.pictured:
                self.report.note(TEXT_ONLY)
                return
            image = tried(_image_in_turns, (entry, talk))
        references = tried(clean_references, entry["references"]) if "references" in entry else ()
        facts = tried(_facts, entry["facts"]) if "facts" in entry else {}
        if image is not None:
            try:
                self.samples(number, own, image, talk, references or (), facts, entry.get("split"), bool(problems))
            except EntryError as error:
                problems.append(error)
        for problem in problems:
            self.report.add(problem.kind, self.records.label(number, given), str(problem))

    def samples(
        self,
        number: int,
        own: str | None,
        image: str,
        talk: Conversation | None,
        references: tuple[str, ...],
        facts: Mapping[str, Any] | None,
        split: Any,
        bad: bool,
    ) -> None:
        """Add a row for each pair of turns; for an unusable record a single bad row, so that its image is checked."""
        base = self.records.unique(own or f"{self.records.noun}-{number}")
        self.records.splits.append("" if split is None else label(split))
        if bad or talk is None:
            self.records.add(number, base, image, bad=True)
            return
        for place, pair in enumerate(talk.pairs):
            name = self.records.unique(f"{base}#{place + 1}") if place else base
            prompt, answer, usable = self.texts(number, name, *pair)
            texts: dict[str, Any] = {"prompt": prompt, "answer": answer, "references": () if place else references}
            self.records.add(number, name, image, **texts, facts=facts, bad=not usable)
        self.records.splits += self.records.splits[-1:] * (len(talk.pairs) - 1)
        self.report.notes += talk.left_out

    def texts(self, number: int, name: str, asked: str, answered: str) -> tuple[str, str, bool]:
        """Return prompt and answer of one pair, and whether they are usable."""
        try:
            prompt, answer = clean_prompt(asked), clean_answer(answered)
            if not answer:
                raise EntryError(EMPTY, "the gpt answer is empty")
            if self.asks and not prompt:
                raise EntryError(EMPTY, "the question is empty")
            return prompt, answer, True
        except EntryError as error:
            self.report.add(error.kind, self.records.label(number, name), str(error))
            return "", "", False


def _identity(given: Any) -> str:
    name = identity(given)
    encoded(name)
    return name


def _conversation(entry: Mapping[str, Any]) -> Conversation:
    key = next((key for key in KEYS if entry.get(key) is not None), None)
    if key is None:
        raise EntryError(BROKEN, f"no {' or '.join(KEYS)}")
    return conversation(entry[key], key)


def _picture(entry: Mapping[str, Any]) -> str | None:
    """Return the image's path, None if the record names none."""
    for key in ("image", "images"):
        given = entry.get(key)
        if isinstance(given, list) and given:
            return _one_of(given)
        if given not in (None, "", []):
            return _one_of([given])
    return None


def _image_in_turns(given: tuple[Mapping[str, Any], Conversation]) -> str:
    """Return the image's path that the turns contain."""
    entry, talk = given
    if talk.pictures:
        return _one_of(talk.pictures)
    known = f"image is {entry['image']!r}, not the path of one image" if "image" in entry else "no image"
    raise EntryError(BROKEN, f"{known}, but a question shows one")


def _one_of(pictures: list[Any]) -> str:
    if len(pictures) > 1:
        raise EntryError(SEVERAL, f"it has {len(pictures)} images, not the path of one image")
    check_name(pictures[0])
    encoded(pictures[0])
    return str(pictures[0])


def _facts(facts: Any) -> dict[str, Any]:
    if not isinstance(facts, dict):
        raise EntryError(BROKEN, "facts is not an object")
    return facts
