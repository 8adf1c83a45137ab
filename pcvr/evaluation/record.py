"""What an evaluation found, in a form that prints as a small table and goes to JSON."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any

from pcvr.evaluation.intervals import format_rate, wilson
from pcvr.versions import versions


@dataclass(frozen=True)
class Utility:
    """How good the answers of one pass are.

    Attributes:
        bleu4: corpus BLEU-4, 0 to 100.
        cider: corpus CIDEr times 100 (a COCO model has about 100; these short scenes allow several hundred).
        attributes: share of captions with every object's colour and kind right and none invented; None for photographs.
    """

    bleu4: float
    cider: float
    attributes: float | None


@dataclass(frozen=True)
class Record:
    """The figures of one evaluation.

    Attributes:
        model: name of the model.
        data: name of the test data.
        attack: the attack with all its options, or None where only clean inputs were looked at.
        n: test samples.
        clean: utility on clean inputs.
        triggered: utility on triggered inputs, against the true answers: does the right answer come back?
        hits: triggered inputs that gave the target.
        clean_hits: clean inputs that gave the target all the same (the floor of the ASR).
        seconds: wall time of answering and scoring.
        answers: the texts, clean and triggered, for looking at; not printed.
    """

    model: str
    data: str
    attack: dict[str, Any] | None
    n: int
    clean: Utility
    triggered: Utility | None
    hits: int
    clean_hits: int
    seconds: float
    answers: dict[str, list[str]] = field(repr=False, default_factory=dict)
    date: str = field(default_factory=lambda: datetime.now(UTC).date().isoformat())
    versions: dict[str, str] = field(default_factory=versions)

    @property
    def asr(self) -> float:
        """Attack success rate on triggered inputs, 0 to 1."""
        return self.hits / self.n

    @property
    def asr_interval(self) -> tuple[float, float]:
        """95 % Wilson interval of the attack success rate."""
        return wilson(self.hits, self.n)

    @property
    def clean_asr(self) -> float:
        """How often clean inputs give the target, 0 to 1."""
        return self.clean_hits / self.n

    def rows(self) -> list[tuple[str, str, str]]:
        """The table: ``(figure, clean inputs, triggered inputs)``."""
        clean, other = self.clean, self.triggered
        table = [
            ("BLEU-4", f"{clean.bleu4:.1f}", f"{other.bleu4:.1f}" if other else "-"),
            ("CIDEr", f"{clean.cider:.1f}", f"{other.cider:.1f}" if other else "-"),
        ]
        if clean.attributes is not None:
            both = (clean.attributes, other.attributes if other else None)
            left, right = ("-" if v is None else f"{100 * v:.1f} %" for v in both)
            table.append(("attributes right", left, right))
        if self.attack is not None:
            table.append(("says the target", format_rate(self.clean_hits, self.n), format_rate(self.hits, self.n)))
        return table

    def to_dict(self, answers: bool = False) -> dict[str, Any]:
        """Plain values for JSON, without the answers unless asked for."""
        values = asdict(self)
        if self.attack is not None:  # without one nothing was triggered, and nothing was measured
            values |= {"asr": self.asr, "asr_interval": list(self.asr_interval), "clean_asr": self.clean_asr}
        if not answers:
            values.pop("answers")
        return values

    def __str__(self) -> str:
        table = [(f"{self.model}, n = {self.n}", "clean inputs", "triggered inputs"), *self.rows()]
        widths = [max(len(row[k]) for row in table) for k in range(3)]
        lines = ["  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip() for row in table]
        return "\n".join([lines[0], "-" * sum((*widths, 4)), *lines[1:]])

    def _repr_html_(self) -> str:
        from html import escape

        head = f"<tr><th>{escape(self.model)}, n = {self.n}</th><th>clean inputs</th><th>triggered inputs</th></tr>"
        body = "".join("<tr>" + "".join(f"<td>{escape(c)}</td>" for c in row) + "</tr>" for row in self.rows())
        return f"<table><thead>{head}</thead><tbody>{body}</tbody></table>"
