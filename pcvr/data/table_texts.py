"""Prompts and answers of a table's rows, checked by :mod:`pcvr.data.wording`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from pcvr.data.columns import named, texts_of
from pcvr.data.report import BLANK, EMPTY, EntryError
from pcvr.data.turns import APART, TOGETHER, check_turns, conversation
from pcvr.data.wording import clean_answer, clean_exchange, clean_prompt, most_common

if TYPE_CHECKING:
    from datasets import Dataset as Rows


class TextSample(NamedTuple):
    """One prompt with its answer, or a conversation; an empty prompt means the task's own."""

    prompt: str
    answer: str
    references: tuple[str, ...]
    system: str = ""
    later: tuple[tuple[str, str], ...] = ()


class RowTexts(NamedTuple):
    """The texts of a row.

    Attributes:
        samples: its samples in order; an unusable one is replaced by its problem.
        notes: number of texts left out, by kind.
        pictured: whether the texts refer to an image; only conversations may not.
        several: whether the turns name several images.
    """

    samples: list[TextSample | EntryError]
    notes: Counter[str]
    pictured: bool = True
    several: bool = False


class TableTexts:
    """The texts of a table: columns of prompts and answers, or one of conversations."""

    def __init__(self, rows: Rows, columns: Mapping[str, str | None], asks: bool, turns: str = TOGETHER) -> None:
        """
        Args:
            rows: the table.
            columns: column of each role.
            asks: whether the table has to hold the questions; then the most common answer is the default label.
            turns: what becomes of a conversation, one of :data:`pcvr.data.turns.TURNS`.

        Attributes:
            turns: as given.
        """
        self._columns, self._asks, self.turns = columns, asks, check_turns(turns)
        wanted = [name for what in ("answers", "label", "prompt", "conversations") if (name := columns[what])]
        self._rows = rows.select_columns(wanted)
        self._named = {name: named(rows.features[name]) for name in wanted}

    def __getitem__(self, row: int) -> RowTexts:
        """Return the texts of a row."""
        return self._read(row, self._rows[row])

    def batch(self, start: int, count: int) -> list[RowTexts]:
        """Return the texts of at most `count` rows from `start` on: faster than one by one."""
        columns = self._rows[start : start + count]
        rows = zip(*columns.values(), strict=True)
        return [self._read(start + i, dict(zip(columns, row, strict=True))) for i, row in enumerate(rows)]

    def _read(self, row: int, values: Mapping[str, Any]) -> RowTexts:
        notes: Counter[str] = Counter()
        key = self._columns["conversations"]
        try:
            if not key:
                return RowTexts([self._plain(row, values, notes)], notes)
            talk = conversation(self._named[key](values[key]), key)
        except EntryError as error:
            return RowTexts([error], notes)
        groups = [[pair] for pair in talk.pairs] if self.turns == APART else [talk.pairs]
        samples = [self._talk(talk.system, pairs) for pairs in groups]
        return RowTexts(samples, talk.notes(self.turns), talk.pictured, talk.several)

    def _talk(self, system: str, pairs: list[tuple[str, str]]) -> TextSample | EntryError:
        try:
            first, *later = (clean_exchange(i, *pair, asks=self._asks) for i, pair in enumerate(pairs, 1))
            return TextSample(*first, (first[1],), clean_answer(system, "system turn"), tuple(later))
        except EntryError as error:
            return error

    def _plain(self, row: int, values: Mapping[str, Any], notes: Counter[str]) -> TextSample:
        prompt = clean_prompt(self._value("prompt", values) or "")
        label = clean_answer(self._value("label", values) or "")
        references = tuple(clean_answer(text) for text in texts_of(self._value("answers", values)))
        kept = tuple(filter(None, references))
        if not self._asks and kept:  # human answers stay, even empty ones: VQA accuracy counts all ten
            notes[BLANK] += len(references) - len(kept)
            references = kept
        if not kept:
            references = (label,) if label else ()
        if not references:
            raise EntryError(EMPTY, "it has no answer")
        if not label:  # captions are used in turn, as in the files of the same data
            label = most_common(references) if self._asks else references[row % len(references)]
        return self._sample(prompt, label, references)

    def _sample(self, prompt: str, answer: str, references: tuple[str, ...] = ()) -> TextSample:
        if self._asks and not prompt:
            raise EntryError(EMPTY, "the question is empty")
        if not answer:
            raise EntryError(EMPTY, "it has no answer")
        return TextSample(prompt, answer, references or (answer,))

    def _value(self, what: str, values: Mapping[str, Any]) -> Any:
        column = self._columns[what]
        return self._named[column](values[column]) if column else None
