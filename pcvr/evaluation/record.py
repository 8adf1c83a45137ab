"""The record of an evaluation: prints as a small table and goes to JSON."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any

from pcvr.evaluation.intervals import format_rate, wilson
from pcvr.evaluation.metrics import Scores, get_metric, share_right
from pcvr.tasks import get_task
from pcvr.utils.versions import versions

_GUARDS = ("guard", "guard_off")


@dataclass(frozen=True)
class Record:
    """The figures of one evaluation.

    Attributes:
        model: name of the model.
        data: name of the test data.
        task: what was asked, a key of :data:`pcvr.tasks.TASKS`.
        attack: the attack with all its options; None where only clean inputs were evaluated.
        n: number of test samples.
        clean: utility on clean inputs, by metric.
        triggered: the same on triggered inputs, against the true answers: does the correct answer come back?
        hits: number of triggered inputs answered with the target.
        clean_hits: number of clean inputs answered with the target (the floor of the ASR).
        seconds: wall time of answering and scoring.
        aimed: number of test samples that the attacker aims at, over which hits are counted; None for all.
        reach: the ``pictures`` on which the evaluation checked that the trigger reaches the model, and the number of
            them where it ``survives``; empty where that was not checked, and in older records.
        guard: name of the test-time defence that answered; None where the model answered by itself.
        guard_off: name of the guard that the model carries and ``guard=False`` switched off; None otherwise.
        answers: the texts, clean and triggered; not printed.
    """

    model: str
    data: str
    task: str
    attack: dict[str, Any] | None
    n: int
    clean: Scores
    triggered: Scores | None
    hits: int
    clean_hits: int
    seconds: float
    aimed: int | None = None
    answers: dict[str, list[str]] = field(repr=False, default_factory=dict)
    date: str = field(default_factory=lambda: datetime.now(UTC).date().isoformat())
    versions: dict[str, str] = field(default_factory=versions)
    reach: dict[str, Any] = field(default_factory=dict)
    guard: str | None = None
    guard_off: str | None = None

    @property
    def counted(self) -> int:
        """Number of test samples over which hits are counted."""
        return self.n if self.aimed is None else self.aimed

    @property
    def asr(self) -> float:
        """Attack success rate on triggered inputs, 0 to 1."""
        return self.hits / self.counted

    @property
    def asr_interval(self) -> tuple[float, float]:
        """95 % Wilson interval of the attack success rate."""
        return wilson(self.hits, self.counted)

    @property
    def clean_asr(self) -> float:
        """How often clean inputs give the target, 0 to 1."""
        return self.clean_hits / self.counted

    @property
    def clean_right(self) -> float | None:
        """Fraction of clean inputs answered correctly, 0 to 1, by the task's metric; None where the data do not say."""
        return share_right(get_task(self.task), self.clean)

    @property
    def triggered_right(self) -> float | None:
        """The same on triggered inputs."""
        return None if self.triggered is None else share_right(get_task(self.task), self.triggered)

    @property
    def heading(self) -> str:
        """What the table is about: model, number of samples, and what became of a guard."""
        guarded = f", guarded by {self.guard}" if self.guard else ""
        off = f", guard {self.guard_off} off" if self.guard_off else ""
        return f"{self.model}, n = {self.n}{guarded}{off}"

    def rows(self) -> list[tuple[str, str, str]]:
        """Return the rows of the table: ``(figure, clean inputs, triggered inputs)``."""
        table = []
        for name, value in self.clean.items():
            metric = get_metric(name)
            other = "-" if self.triggered is None else metric.format(self.triggered[name])
            table.append((metric.label, metric.format(value), other))
        if self.attack is not None:
            table.append(
                ("says the target", format_rate(self.clean_hits, self.counted), format_rate(self.hits, self.counted))
            )
        return table

    def to_dict(self, answers: bool = False) -> dict[str, Any]:
        """Return plain values for JSON, without the answers unless asked for, and without guards that are not there."""
        values = {name: value for name, value in asdict(self).items() if name not in _GUARDS or value is not None}
        if self.attack is not None:  # without one nothing was triggered, and nothing was measured
            values |= {"asr": self.asr, "asr_interval": list(self.asr_interval), "clean_asr": self.clean_asr}
        if not answers:
            values.pop("answers")
        return values

    def __str__(self) -> str:
        table = [(self.heading, "clean inputs", "triggered inputs"), *self.rows()]
        widths = [max(len(row[k]) for row in table) for k in range(3)]
        lines = ["  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip() for row in table]
        return "\n".join([lines[0], "-" * sum((*widths, 4)), *lines[1:]])

    def _repr_html_(self) -> str:
        from html import escape

        head = f"<tr><th>{escape(self.heading)}</th><th>clean inputs</th><th>triggered inputs</th></tr>"
        body = "".join("<tr>" + "".join(f"<td>{escape(c)}</td>" for c in row) + "</tr>" for row in self.rows())
        return f"<table><thead>{head}</thead><tbody>{body}</tbody></table>"
