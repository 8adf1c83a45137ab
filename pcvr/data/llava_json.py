"""Reader of LLaVA-style JSON: a list of records, each a picture and a conversation about it.

A record looks like this (``references``, ``facts`` and ``split`` are optional; other keys are ignored)::

    {"id": "cat-1", "image": "cat.png",
     "conversations": [{"from": "human", "value": "<image>\\ndescribe the image."},
                       {"from": "gpt", "value": "a cat looks to the right."},
                       {"from": "human", "value": "What colour is it?"},
                       {"from": "gpt", "value": "ginger."}],
     "references": ["a cat looks to the right.", "a close view of a ginger cat."]}

The other forms of conversations in :mod:`pcvr.data.turns`, ``"images": ["cat.png"]`` and records without an id are read
as well, and so is a file of JSON lines, one record a line; ``.jsonl`` is how its name usually ends.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from pcvr.data.folder import check_name
from pcvr.data.photographs import Photographs
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
"""How the names of JSON-lines files end."""

_RECORD = "an object with image and conversations"
_T = TypeVar("_T")


class LlavaJson(Photographs):
    """A LLaVA-style JSON with its folder of pictures, as a :class:`~pcvr.data.sample.Dataset`.

    Each human turn followed by a gpt turn is a sample: prompt and answer. The first has the record's id, later ones
    ``cat-1#2`` and so on; they are questions of their own, asked without what was said before. ``<image>`` is taken off
    both ends of a prompt, since each model's processor puts its own image tokens in. Where nothing is left of it, the
    task's prompt is asked. ``references`` belong to the first pair, ``facts`` to all.

    Ids that stand more than once are made unique (``cat-1~2``); turns in no pair and records without a picture are left
    out. The notes of the report count all three.
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
        follow_links: bool = False,
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
            follow_links: whether links may lead out of the folder of pictures.

        Raises:
            BadData: naming every record that cannot be used (the first ten in words, and how many in all).
            PcvrError: no such file or folder, no valid JSON, or an unknown task.
        """
        asks = get_task(task).prompt is None
        path = Path(json_path).expanduser()
        in_lines = path.suffix.lower() in LINES if lines is None else lines
        records = Records(Report(str(path)), "line" if in_lines else "record")
        digest = (_read_lines if in_lines else _read_list)(path, _Reading(records, asks))
        options: dict[str, Any] = {"skip_bad": skip_bad, "check_pictures": check_pictures, "follow_links": follow_links}
        super().__init__(path, task, records, digest, image_folder, **options)


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
    """Makes samples of records; all that is wrong with one is reported, not only what is found first."""

    def __init__(self, records: Records, asks: bool) -> None:
        """
        Args:
            records: where the samples go.
            asks: whether the data have to bring the questions.
        """
        self.records, self.report, self.asks = records, records.report, asks

    def record(self, number: int, entry: Any, wrong: str = "") -> None:
        """Add the samples of the record at `number`, unless something is `wrong` with its line."""
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
            image = tried(_shown, (entry, talk))
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
        """Add a row for each pair of turns; a single one where the record cannot be used, for its picture's sake."""
        base = self.records.unique(own or f"{self.records.noun}-{number}")
        self.records.splits.append("" if split is None else label(split))
        if bad or talk is None:
            self.records.add(number, base, image, bad=True)
            return
        for place, pair in enumerate(talk.pairs):
            name = self.records.unique(f"{base}#{place + 1}") if place else base
            prompt, answer, usable = self.texts(number, name, *pair)
            said: dict[str, Any] = {"prompt": prompt, "answer": answer, "references": () if place else references}
            self.records.add(number, name, image, **said, facts=facts, bad=not usable)
        self.records.splits += self.records.splits[-1:] * (len(talk.pairs) - 1)
        self.report.notes += talk.left_out

    def texts(self, number: int, name: str, asked: str, answered: str) -> tuple[str, str, bool]:
        """Prompt and answer of one pair, and whether they can be used."""
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
    """The picture's path, None where the record names none."""
    for key in ("image", "images"):
        given = entry.get(key)
        if isinstance(given, list) and given:
            return _one_of(given)
        if given not in (None, "", []):
            return _one_of([given])
    return None


def _shown(given: tuple[Mapping[str, Any], Conversation]) -> str:
    """The picture's path in the turns, where they show one."""
    entry, talk = given
    if talk.pictures:
        return _one_of(talk.pictures)
    known = f"image is {entry['image']!r}, not the path of one picture" if "image" in entry else "no image"
    raise EntryError(BROKEN, f"{known}, but a question shows one")


def _one_of(pictures: list[Any]) -> str:
    if len(pictures) > 1:
        raise EntryError(SEVERAL, f"it has {len(pictures)} pictures, not the path of one picture")
    check_name(pictures[0])
    encoded(pictures[0])
    return str(pictures[0])


def _facts(facts: Any) -> dict[str, Any]:
    if not isinstance(facts, dict):
        raise EntryError(BROKEN, "facts is not an object")
    return facts
