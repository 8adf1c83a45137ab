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
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar, Unpack

from pcvr.data.llava_records import RECORD, LlavaRecords, Unread, conversation_in, pictures_in
from pcvr.data.photographs import Options, Photographs
from pcvr.data.records import Records
from pcvr.data.report import EntryError, Report
from pcvr.data.stream import JsonFile, json_lines
from pcvr.data.turns import TOGETHER, check_turns
from pcvr.errors import PcvrError
from pcvr.tasks import get_task

LINES = (".jsonl", ".ndjson")
"""File name endings of JSON lines."""


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
        lines: whether the file is one of JSON lines.
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
        self.lines = Path(json_path).suffix.lower() in LINES if lines is None else lines
        self.noun = "line" if self.lines else "record"
        self.turns = check_turns(turns)
        self._kept: list[int] = []
        super().__init__(json_path, image_folder, task, **options)

    def _read(self, records: Records) -> str:
        reading = LlavaRecords(records, get_task(self._task).prompt is None, self.turns)
        digest = (_read_lines if self.lines else _read_list)(self.path, reading)
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
        if self.lines:
            entries = ((number, entry) for number, entry, _ in json_lines(self.path, hashlib.sha256()))
            yield from (self._unread(entry) for number, entry in entries if number in wanted)
            return
        with JsonFile(self.path) as file:
            yield from (self._unread(entry) for _, number, entry in file if number in wanted)

    def _unread(self, entry: dict[str, Any]) -> Unread:
        talk = conversation_in(entry)
        try:
            files = {name: self._pictures.path(self._pictures.find(name)) for name in pictures_in(entry, talk)}
        except EntryError as error:
            raise PcvrError(f"a record of {self.path} that is left out cannot be copied: {error}.") from error
        return Unread(entry, talk, files)


def entries_of(path: str | Path, turns: str = TOGETHER, lines: bool | None = None) -> dict[str, int]:
    """Return from which record of a file each sample comes: its id to the record's index, or the line's number.

    Images are not searched for, and records with problems have no samples. `turns` and `lines` are as of `LlavaJson`.

    Raises:
        PcvrError: the file is missing, or not a LLaVA-style JSON.
    """
    path = Path(path).expanduser()
    lines = path.suffix.lower() in LINES if lines is None else lines
    records = Records(Report(str(path)), "line" if lines else "record")
    (_read_lines if lines else _read_list)(path, LlavaRecords(records, False, check_turns(turns)))
    return records.entries()


def _read_list(path: Path, reading: LlavaRecords) -> str:
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


def _read_lines(path: Path, reading: LlavaRecords) -> str:
    digest = hashlib.sha256()
    for number, entry, wrong in json_lines(path, digest):
        reading.record(number, entry, wrong)
    if not reading.report.looked:
        raise PcvrError(f"{path} is empty: a file of JSON lines has one record a line, {RECORD}.")
    reading.records.sort()
    return digest.hexdigest()
