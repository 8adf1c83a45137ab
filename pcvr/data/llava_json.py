"""Reader of LLaVA-style JSON: a list of records, each with an image and a conversation about it.

A record (``references``, ``facts`` and ``split`` are optional; other keys are ignored)::

    {"id": "cat-1", "image": "cat.png",
     "conversations": [{"from": "human", "value": "<image>\\ndescribe the image."},
                       {"from": "gpt", "value": "a cat looks to the right."},
                       {"from": "human", "value": "What colour is it?"},
                       {"from": "gpt", "value": "ginger."}],
     "references": ["a cat looks to the right.", "a close view of a ginger cat."]}

Also read: the other forms of conversations in :mod:`pcvr.data.turns`, ``"images": ["cat.png"]`` (as LLaMA-Factory and
ms-swift write it), ``"file_name": "cat.png"`` (as in the ``metadata.jsonl`` of a folder for ``datasets``), records
without an id, and files of JSON lines, one record a line (usually ``.jsonl``).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, TypeVar, Unpack

from pcvr.data.folder import check_name
from pcvr.data.photographs import Options, Photographs
from pcvr.data.records import Records, identity
from pcvr.data.report import BROKEN, OTHER_MEDIA, SEVERAL, TEXT_ONLY, EntryError, Report
from pcvr.data.split import label
from pcvr.data.stream import JsonFile, json_lines
from pcvr.data.texts import encoded
from pcvr.data.turns import APART, TOGETHER, Conversation, check_turns, conversation, turns_of
from pcvr.data.wording import clean_answer, clean_exchange, clean_references
from pcvr.errors import PcvrError
from pcvr.tasks import get_task

LINES = (".jsonl", ".ndjson")
"""File name endings of JSON lines."""

_OTHER_MEDIA = ("video", "videos", "audio", "audios")
_RECORD = "an object with image and conversations"
_T = TypeVar("_T")


class Unread(NamedTuple):
    """A record that is not a sample: without an image, or with several.

    Attributes:
        entry: the record, as it is in the file.
        talk: its conversation.
        files: the files of its images, by their names in the record.
    """

    entry: dict[str, Any]
    talk: Conversation
    files: dict[str, Path]


class LlavaJson(Photographs):
    """A LLaVA-style JSON with its folder of images, as a :class:`~pcvr.data.sample.Dataset`.

    A record is a sample: its first human turn with the gpt turn that follows are prompt and answer, and the pairs after
    them are the sample's later exchanges. With ``turns="apart"``, each pair is a sample, asked without the earlier
    turns; the second has the id ``cat-1#2``. ``<image>`` is removed from both ends of a prompt, since each model's
    processor adds its own image tokens. An empty first prompt becomes the task's prompt. ``references`` belong to the
    first pair, ``facts`` to all pairs.

    Repeated ids are made unique (``cat-1~2``). Turns without a partner, and records without an image, with several, or
    with video or audio are left out. The report's notes count all of these.

    Attributes:
        turns: how conversations are read.
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
        turns: str = TOGETHER,
        **options: Unpack[Options],
    ) -> None:
        """
        Args:
            json_path: the JSON file.
            image_folder: the folder of images; by default the JSON's folder or ``images/`` in it, whichever holds most
                of the first images.
            task: a key of :data:`pcvr.tasks.TASKS`.
            lines: whether it is a file of JSON lines; by default the name's ending decides.
            turns: ``"together"`` or ``"apart"``.
            options, and errors: as :class:`~pcvr.data.photographs.Photographs`.
        """
        self._lines = Path(json_path).suffix.lower() in LINES if lines is None else lines
        self.noun = "line" if self._lines else "record"
        self.turns = check_turns(turns)
        self._kept: list[int] = []
        super().__init__(json_path, image_folder, task, **options)

    def _read(self, records: Records) -> str:
        reading = _Reading(records, get_task(self._task).prompt is None, self.turns)
        digest = (_read_lines if self._lines else _read_list)(self.path, reading)
        self._kept = reading.kept
        # Data with nothing but single exchanges keep the fingerprint that they had before conversations were read.
        return hashlib.sha256(f"{digest} {self.turns}".encode()).hexdigest() if records.conversational else digest

    @property
    def conversational(self) -> bool:
        """Whether any sample has a system turn or later exchanges."""
        return self._records.conversational

    def unread_records(self) -> Iterator[Unread]:
        """Yield the records that are left out because they have no image or several; they are read from the file again.

        Raises:
            PcvrError: an image is missing or outside the folder.
        """
        wanted = set(self._kept)
        if not wanted:
            return
        if self._lines:
            entries = ((number, entry) for number, entry, _ in json_lines(self.path, hashlib.sha256()))
            yield from (self._unread(entry) for number, entry in entries if number in wanted)
            return
        with JsonFile(self.path) as file:
            yield from (self._unread(entry) for _, number, entry in file if number in wanted)

    def _unread(self, entry: dict[str, Any]) -> Unread:
        talk = _conversation(entry)
        try:
            files = {name: self._pictures.path(self._pictures.find(name)) for name in _pictures(entry, talk)}
        except EntryError as error:
            raise PcvrError(f"a record of {self.path} that is left out cannot be copied: {error}.") from error
        return Unread(entry, talk, files)


def entries_of(path: str | Path, turns: str = TOGETHER) -> dict[str, int]:
    """Return from which record of a file each sample comes: its id to the record's index, or the line's number.

    Images are not searched for, and records with problems have no samples. `turns` is as of `LlavaJson`.

    Raises:
        PcvrError: the file is missing, or not a LLaVA-style JSON.
    """
    path = Path(path).expanduser()
    lines = path.suffix.lower() in LINES
    records = Records(Report(str(path)), "line" if lines else "record")
    (_read_lines if lines else _read_list)(path, _Reading(records, False, check_turns(turns)))
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

    def __init__(self, records: Records, asks: bool, turns: str) -> None:
        """
        Args:
            records: where to add the samples.
            asks: whether the data have to hold the questions.
            turns: what becomes of a conversation, one of :data:`pcvr.data.turns.TURNS`.
        """
        self.records, self.report, self.asks, self.turns = records, records.report, asks, turns
        self.kept: list[int] = []  # records without an image or with several

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

        if any(entry.get(key) for key in _OTHER_MEDIA):
            self.report.note(OTHER_MEDIA)
            return
        given = entry.get("id")
        own = f"{self.records.noun}-{number}" if given in (None, "") else tried(_identity, given)
        talk = tried(_conversation)
        pictures = _pictures(entry, talk)
        if not problems and talk and (len(pictures) > 1 or not (pictures or talk.pictured)):
            self.report.note(SEVERAL if pictures else TEXT_ONLY)
            self.kept.append(number)
            return
        image = tried(_only_picture, (entry, pictures)) if pictures or not problems else None
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
        """Add the rows of a conversation; for an unusable record a single bad row, so that its image is checked."""
        base = self.records.unique(own or f"{self.records.noun}-{number}")
        self.records.splits.append("" if split is None else label(split))
        if bad or talk is None:
            self.records.add(number, base, image, bad=True)
            return
        groups = [[pair] for pair in talk.pairs] if self.turns == APART else [talk.pairs]
        for place, pairs in enumerate(groups):
            name = self.records.unique(f"{base}#{place + 1}") if place else base
            texts = self.texts(number, name, talk.system, pairs)
            told = () if place else references
            self.records.add(number, name, image, **texts, references=told, facts=facts, bad=not texts)
        self.records.splits += self.records.splits[-1:] * (len(groups) - 1)
        self.report.notes += talk.notes(self.turns)

    def texts(self, number: int, name: str, system: str, pairs: list[tuple[str, str]]) -> dict[str, Any]:
        """Return the texts of a sample, by their names in `Records.add`; empty if one is not usable."""
        try:
            first, *later = (clean_exchange(i, *pair, asks=self.asks) for i, pair in enumerate(pairs, 1))
            told = clean_answer(system, "system turn")
        except EntryError as error:
            self.report.add(error.kind, self.records.label(number, name), str(error))
            return {}
        return {"prompt": first[0], "answer": first[1], "system": told, "later": later}


def _identity(given: Any) -> str:
    name = identity(given)
    encoded(name)
    return name


def _conversation(entry: Mapping[str, Any]) -> Conversation:
    return conversation(*turns_of(entry))


def _pictures(entry: Mapping[str, Any], talk: Conversation | None) -> list[Any]:
    """Return what a record names as its images, each a path if it is well formed; by its turns if it names none."""
    for key in ("image", "images", "file_name"):
        given = entry.get(key)
        if given not in (None, "", []):
            many = given if isinstance(given, list) else [given]
            return [each.get("path", each) if isinstance(each, dict) else each for each in many]
    return list(talk.pictures) if talk else []


def _only_picture(given: tuple[Mapping[str, Any], list[Any]]) -> str:
    """Return the path of a record's image."""
    entry, pictures = given
    if not pictures:
        known = f"image is {entry['image']!r}, not the path of one image" if "image" in entry else "no image"
        raise EntryError(BROKEN, f"{known}, but a question shows one")
    check_name(pictures[0])
    encoded(pictures[0])
    return str(pictures[0])


def _facts(facts: Any) -> dict[str, Any]:
    if not isinstance(facts, dict):
        raise EntryError(BROKEN, "facts is not an object")
    return facts
