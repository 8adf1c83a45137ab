"""The result of an audit as an object: tables of scores, what to keep, files, and the report."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pcvr.auditing.combine import Verdict
from pcvr.auditing.limits import TOGETHER
from pcvr.auditing.repeats import all_answers, repeated
from pcvr.auditing.store import ScoreStore
from pcvr.auditing.surprise import Surprise, ranks
from pcvr.errors import PcvrError
from pcvr.utils.files import write_bytes, write_json, write_text

if TYPE_CHECKING:
    import pandas as pd

    from pcvr.data.sample import Dataset
    from pcvr.models.vlm import VisionLanguageModel

LOST = 4.0
"""Median surprise, nats a token, from which a model cannot answer the task."""
TABLES = (".csv", ".parquet")
"""Endings of tables of scores."""


@dataclass(frozen=True)
class AuditResult:
    """What an audit found, in figures and words.

    Attributes:
        data: the samples.
        model: the model, open or by name.
        store: the figures of all samples.
        surprise: ranks of the labels.
        verdict: scores, threshold and triggers.
        about: model, data, options, seconds and versions.
        device: of a model that is given by name.
        four_bit: whether it is loaded in 4 bits.
    """

    data: Dataset
    model: Any = field(repr=False)
    store: ScoreStore = field(repr=False)
    surprise: Surprise = field(repr=False)
    verdict: Verdict
    about: Mapping[str, Any]
    device: str = "auto"
    four_bit: bool = False
    _keeper: Any = field(default=None, repr=False)  # a temporary folder of scores lives as long as this

    def __len__(self) -> int:
        return self.store.count

    @property
    def evidence(self) -> bool:
        """Whether there is evidence for poison."""
        return self.verdict.evidence

    @property
    def flagged(self) -> np.ndarray:
        """Samples that the threshold flags: bool ``[N]``."""
        return self.verdict.flagged

    def __str__(self) -> str:
        """Return the verdict in a sentence or two, and each note on its own line."""
        return "\n".join([self._verdict_in_words(), *(f"note: {note}" for note in self.notes)])

    def _verdict_in_words(self) -> str:
        verdict, count = self.verdict, len(self)
        if not verdict.evidence:
            said = (
                f"No evidence for poison in {count} samples ({verdict.tests} groups of samples were tried). That is no "
                "proof that there is none."
            )
            return f"{said}{self._found_in_words()}"
        each = "; ".join(
            f"{one.kind} from {one.size} samples, probability of chance {one.chance:.0e}" for one in verdict.triggers
        )
        return (
            f"Evidence for poison: {int(self.flagged.sum())} of {count} samples flagged ({each}). "
            f"Expected false alarms: {verdict.expected * count:.1f} ({100 * verdict.expected:.2g} % of clean samples)."
        )

    @property
    def notes(self) -> tuple[str, ...]:
        """Doubts about the audit, one sentence each."""
        nll = self.store.column("nll")
        rows, answers = all_answers(self.store)
        found = []
        if nll is not None and np.median(nll) > LOST:
            found.append(
                f"The model expects hardly any label (median {np.median(nll):.1f} nats a token): it cannot answer this "
                "task, so that surprise says little; take a model that can."
            )
        if len(rows) > len(self):
            found.append(TOGETHER)
        if len(np.unique(answers)) == 1:
            found.append("All samples have one answer, so that no answer can be too frequent.")
        return tuple(found)

    def _found_in_words(self) -> str:
        kinds = list(dict.fromkeys(one.kind for one in self.verdict.explained))
        return f" Groups that differ, and are no poison: {', '.join(kinds)}." if kinds else ""

    def issues(self) -> pd.DataFrame:
        """Return a table with a row for every sample, in the order of the data.

        Columns: ``id``; ``score`` (powers of ten, high is suspicious); ``flagged``; ``trigger`` (its number, from 0; -1
        for none); ``nll`` of the label under the model, nats a token; ``surprise`` (rank of its least expected stretch,
        1 the least expected); ``support`` (nats by which the picture speaks for that stretch); ``invariance``
        (divergence of the label on a view, nats a token; low is invariant); ``repeats`` (samples with the same answer;
        of a conversation its most frequent one counts); ``attention`` (mean entropy over layers, 1 is even) and,
        after a warm-up, ``loss_drop`` (nats a token).
        """
        from pandas import DataFrame

        store, verdict = self.store, self.verdict
        nll = store.column("nll")
        assert nll is not None
        columns: dict[str, Any] = {
            "id": store.ids(),
            "score": verdict.scores,
            "flagged": verdict.flagged,
            "trigger": verdict.trigger,
            "nll": nll,
            "surprise": self.surprise.rank,
            "support": self.surprise.support,
            "invariance": store.column("invariance"),
            "repeats": repeated(store)[1],
        }
        if (attention := store.column("attention")) is not None:
            columns["attention"] = attention.mean(1)
        if (after := store.column("nll_after")) is not None:
            columns["loss_drop"] = nll - after
        return DataFrame(columns)

    def keep(self) -> np.ndarray:
        """Return the indices of the samples that are not flagged, ascending."""
        return np.flatnonzero(~self.flagged)

    def worst(self, count: int = 12) -> np.ndarray:
        """Return the indices of the samples with the highest scores, the flagged ones first."""
        order = np.lexsort((-self.verdict.scores, ~self.flagged))
        return np.asarray(order[:count])

    def counts(self) -> list[tuple[str, float, int]]:
        """Return for each kind of issue the mean score of its samples, and their number; for the summary."""
        rows = []
        for number, one in enumerate(self.verdict.triggers):
            mine = self.verdict.trigger == number
            rows.append((one.kind, float(self.verdict.scores[mine].mean()), int(mine.sum())))
        steady = self.store.column("invariance")
        unexpected = (self.surprise.rank >= 0.99) & ~self.flagged
        rows.append(
            ("label that the model does not expect", _mean(self.verdict.scores, unexpected), int(unexpected.sum()))
        )
        if steady is not None:
            calm = (ranks(-steady) >= 0.99) & ~self.flagged
            rows.append(
                ("label that hardly changes with the picture", _mean(self.verdict.scores, calm), int(calm.sum()))
            )
        return rows

    def save(self, file: str | Path) -> Path:
        """Write the table of all scores, whole or not at all: ``.csv`` or ``.parquet``.

        Raises:
            PcvrError: another ending, or the file cannot be written.
        """
        target = Path(file)
        kind = target.suffix.lower()
        if kind not in TABLES:
            raise PcvrError(f"the table of scores is {str(file)!r}: give a name that ends with .csv or .parquet.")
        table = self.issues()
        if kind == ".csv":
            write_text(target, table.to_csv(index=False))
        else:
            content = io.BytesIO()
            table.to_parquet(content, index=False)
            write_bytes(target, content.getvalue())
        return target

    def summary(self) -> dict[str, Any]:
        """Return the verdict as plain values, for a file."""
        verdict = self.verdict

        def plain(one: Any) -> dict[str, Any]:
            return {
                "kind": one.kind, "source": one.source, "samples": one.size, "told_apart": one.told_apart,
                "chance": one.chance, "pictures_speak": one.explained, "answers": self.answers_of(one),
            }  # fmt: skip

        return {
            **self.about,
            "evidence": verdict.evidence,
            "flagged": int(self.flagged.sum()),
            "threshold": verdict.threshold if np.isfinite(verdict.threshold) else None,
            "expected_false_alarms": verdict.expected * len(self),
            "groups_tried": verdict.tests,
            "triggers": [plain(one) for one in verdict.triggers],
            "no_poison": [plain(one) for one in verdict.explained],
        }

    def save_summary(self, file: str | Path) -> None:
        """Write `summary` as JSON, whole or not at all."""
        write_json(file, json.loads(json.dumps(self.summary(), default=str)))

    def opened(self) -> VisionLanguageModel:
        """Return the model, as it was loaded for the scores."""
        from pcvr.auditing.reading import opened_as

        return opened_as(self.model, self.device, self.four_bit, None)

    def answers_of(self, one: Any) -> list[str]:
        """Return the answers of a finding in words."""
        from pcvr.auditing.words import words_of

        return words_of(self.model, one.answers)


def _mean(values: np.ndarray, chosen: np.ndarray) -> float:
    return float(values[chosen].mean()) if chosen.any() else 0.0
