"""Records of LLaVA-style files, made into samples; every problem of a record is reported, not only the first."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from pcvr.data.folder import check_name
from pcvr.data.records import Records, identity
from pcvr.data.report import BROKEN, MISSING, OTHER_MEDIA, SEVERAL, TEXT_ONLY, EntryError
from pcvr.data.split import label
from pcvr.data.texts import encoded
from pcvr.data.turns import APART, Conversation, conversation, turns_of
from pcvr.data.wording import clean_answer, clean_exchange, clean_references
from pcvr.errors import shown

RECORD = "an object with image and conversations"
"""What a record is, for messages."""

_ELSEWHERE = ("http://", "https://", "data:")
_OTHER_MEDIA = ("video", "videos", "audio", "audios")
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


class LlavaRecords:
    """Makes samples of records.

    Attributes:
        kept: indices of the records without an image or with several.
    """

    def __init__(self, records: Records, asks: bool, turns: str) -> None:
        """
        Args:
            records: where to add the samples.
            asks: whether the data have to hold the questions.
            turns: what becomes of a conversation, one of :data:`pcvr.data.turns.TURNS`.
        """
        self.records, self.report, self.asks, self.turns = records, records.report, asks, turns
        self.kept: list[int] = []

    def record(self, number: int, entry: Any, wrong: str = "") -> None:
        """Add the samples of the record at index `number`, or report what is `wrong` with its line."""
        self.report.looked[f"{self.records.noun}s"] += 1
        if not wrong and not isinstance(entry, dict):
            wrong = f"a {type(entry).__name__} where a record ({RECORD}) belongs"
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
        talk = tried(conversation_in)
        pictures = pictures_in(entry, talk)
        if not problems and talk and (len(pictures) > 1 or not (pictures or talk.pictured)):
            self.report.note(SEVERAL if pictures else TEXT_ONLY)
            self.kept.append(number)
            return
        image = tried(_only_picture, (entry, pictures)) if pictures or not problems else None
        references = tried(clean_references, entry["references"]) if entry.get("references") is not None else ()
        facts = tried(_facts, entry["facts"]) if entry.get("facts") is not None else {}
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


def conversation_in(entry: Mapping[str, Any]) -> Conversation:
    """Return a record's conversation.

    Raises:
        EntryError: it has none.
    """
    return conversation(*turns_of(entry))


def pictures_in(entry: Mapping[str, Any], talk: Conversation | None) -> list[Any]:
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
    if isinstance(pictures[0], str) and pictures[0].lower().startswith(_ELSEWHERE):
        raise EntryError(MISSING, f"image {shown(pictures[0])} is no file: save the image in the folder and name it")
    check_name(pictures[0])
    encoded(pictures[0])
    return str(pictures[0])


def _facts(facts: Any) -> dict[str, Any]:
    if not isinstance(facts, dict):
        raise EntryError(BROKEN, "facts is not an object")
    return facts
