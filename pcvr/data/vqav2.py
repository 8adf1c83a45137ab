"""Reader of VQAv2: questions in one JSON, ten human answers to each in another, and COCO's images.

::

    {"data_subtype": "val2014", ...,
     "questions": [{"question_id": 262148000, "image_id": 262148, "question": "..."}, ...]}
    {"data_subtype": "val2014", ...,
     "annotations": [{"question_id": 262148000, "image_id": 262148, "multiple_choice_answer": "down",
                      "answers": [{"answer": "down", "answer_id": 1, ...}, ...]}, ...]}

Goyal et al. 2017, "Making the V in VQA matter", arXiv 1612.00837; https://visualqa.org.
"""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar, Unpack

import numpy as np

from pcvr.data.coco import SUBTYPES, coco_places, near_coco
from pcvr.data.photographs import Options, Photographs
from pcvr.data.records import Members, Records
from pcvr.data.report import BROKEN, DUPLICATE, EMPTY, STRAY, UNANSWERED, EntryError
from pcvr.data.slots import UNKNOWN, Slots
from pcvr.data.stream import JsonFile
from pcvr.data.texts import Texts
from pcvr.data.wording import clean_answer, clean_prompt, most_common
from pcvr.errors import PcvrError

_QUESTION = Members("question_id", "image_id", "question")
_ANNOTATION = Members("question_id", "answers")
# In place of an image id that the answers do not state.
_ANY = -1


class VQAv2(Photographs):
    """VQAv2: one sample a question, the ten answers its references, the most common one its answer.

    The samples have the questions' ids and order. Empty answers stay among the ten, since VQA accuracy counts ten.
    """

    format: ClassVar[str] = "vqav2"
    noun = "question"
    has_questions: ClassVar[bool | None] = True
    places = staticmethod(coco_places)
    near = staticmethod(near_coco)

    def __init__(
        self,
        questions: str | Path,
        annotations: str | Path | None = None,
        images: str | Path | None = None,
        task: str = "vqa",
        **options: Unpack[Options],
    ) -> None:
        """
        Args:
            questions: the JSON file of questions.
            annotations: the file of answers; by default the one that the official name of `questions` leads to.
            images, task, options, and errors: as :class:`~pcvr.data.photographs.Photographs`.
        """
        self._given = annotations
        super().__init__(questions, images, task, **options)

    def _read(self, records: Records) -> str:
        self.annotations = answers_of(self.path) if self._given is None else Path(self._given).expanduser()
        return _Reading(records).read(self.path, self.annotations)


def answers_of(questions: Path) -> Path:
    """Return the file of answers to a file of questions with an official name.

    Raises:
        PcvrError: no such file.
    """
    name = questions.name.replace("OpenEnded_", "").replace("questions", "annotations")
    found = questions.with_name(name)
    if name == questions.name or not found.is_file():
        raise PcvrError(f"{questions} has only questions: give the file of their answers, annotations='... .json'.")
    return found


class _Reading:
    """Reads the answers first, then the questions, which make the samples."""

    def __init__(self, records: Records) -> None:
        self.records, self.report = records, records.report
        self.slots = Slots()  # of questions, those with answers first
        self.answered = 0  # how many of them have answers
        self.images = array("q")  # by slot, the image that the answers are about
        self.most = Texts()  # by slot, the most common answer
        self.unusable: set[int] = set()  # slots with bad answers, already reported
        self.subtype = ""

    def read(self, questions: Path, annotations: Path) -> str:
        """Fill the records and return a hash of both files."""
        answers = self.each(annotations, "annotations", self.annotation)
        self.answered = len(self.slots)
        asked = self.each(questions, "questions", self.question)
        rows = np.array(self.slots.rows, np.int64)
        stray = np.flatnonzero(rows[: self.answered] == UNKNOWN)
        names = self.slots.names() if stray.size else []
        for slot in stray.tolist():
            self.report.add(STRAY, f"annotation of question {names[slot]!r}", "there is no such question")
        self.records.references.sort(len(self.records), renamed=rows)
        return hashlib.sha256(asked + answers).hexdigest()

    def each(self, path: Path, wanted: str, take: Callable[[int, Any], None]) -> bytes:
        """Call `take` with every entry of one list and return the file's hash."""
        looked = 0
        with JsonFile(path) as file:
            for key, number, value in file:
                if key == wanted and number >= 0:
                    looked += 1
                    take(number, value)
                elif key == "data_subtype" and value in SUBTYPES:
                    self.subtype = value
        self.report.looked[wanted] = looked
        if not looked:
            raise PcvrError(f"{path} has no list of {wanted}: VQAv2 has questions and annotations in a file each.")
        return file.digest.digest()

    def annotation(self, number: int, entry: Any) -> None:
        """Add one entry of the list of annotations."""
        where = f"annotation {number}"
        try:
            given, answers = _ANNOTATION(entry)
            slot, new = self.slots.of(given)
            if not new:
                raise EntryError(DUPLICATE, f"the id {given!r} appears more than once")
        except EntryError as error:
            self.report.add(error.kind, where, str(error))
            return
        image, most, texts = _ANY, "", []
        try:
            texts = _texts(answers)
            most = _most(entry.get("multiple_choice_answer"), texts)
            image = _image(entry["image_id"]) if "image_id" in entry else _ANY
        except EntryError as error:
            self.report.add(error.kind, where, str(error))
            self.unusable.add(slot)
        self.images.append(image)
        self.most.append(most)
        for text in texts:
            self.records.references.append(slot, text)

    def question(self, number: int, entry: Any) -> None:
        """Add one entry of the list of questions."""
        given = entry.get("question_id") if isinstance(entry, dict) else None
        try:
            given, image, question = _QUESTION(entry)
            slot, _ = self.slots.of(given)
            if self.slots.rows[slot] != UNKNOWN:
                raise EntryError(DUPLICATE, f"the id {given!r} appears more than once")
            row = self.add(number, given, _image(image), question, slot)
            self.slots.rows[slot] = row
        except EntryError as error:
            self.report.add(error.kind, self.records.label(number, given), str(error))
            self.slots.spoil(given)

    def add(self, number: int, given: int | str, image: int, question: Any, slot: int) -> int:
        """Add a row for a question and return its index."""
        prompt = clean_prompt(question)
        if not prompt:
            raise EntryError(EMPTY, "the question is empty")
        known = slot < self.answered
        if known and self.images[slot] not in (_ANY, image):
            raise EntryError(BROKEN, f"its image_id is {image}, but its answers are about {self.images[slot]}")
        file = f"COCO_{self.subtype}_{image:012d}.jpg" if self.subtype else f"{image:012d}.jpg"
        row = self.records.add(
            number,
            str(given),
            file,
            prompt=prompt,
            answer=self.most[slot] if known else "",
            bad=slot in self.unusable,
        )
        if not known:
            self.records.problem(row, UNANSWERED, "it has no answers")
        return row


def _image(given: Any) -> int:
    if type(given) is not int or not 0 <= given < 10**12:
        raise EntryError(BROKEN, f"image_id is {given!r}, not a whole number of up to twelve digits")
    return given


def _texts(answers: Any) -> list[str]:
    if not isinstance(answers, list) or not answers:
        raise EntryError(BROKEN, "answers is not a list of at least one answer")
    texts = [each.get("answer") if isinstance(each, dict) else None for each in answers]
    if not all(isinstance(text, str) for text in texts):
        raise EntryError(BROKEN, "answers is not a list of objects with a text 'answer'")
    return [clean_answer(text) for text in texts]


def _most(stated: Any, texts: list[str]) -> str:
    """Return the most common answer that the file states, else the most common of `texts`."""
    return (clean_answer(stated) if isinstance(stated, str) else "") or most_common(texts)
