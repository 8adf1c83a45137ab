"""Reports of all problems in data from outside, counted by kind.

Notes count what was left out or changed without being a problem (a record without an image, a repeated id), so that
nothing is dropped silently.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from pcvr.errors import PcvrError, cut, legible
from pcvr.utils.files import write_text
from pcvr.utils.places import check_place

SHOWN = 10
"""Number of problems that a message lists."""
_HEAD = ("kind", "where", "what")
_LONGEST = 400  # characters of a listed problem

BROKEN = "broken entry"
DUPLICATE = "duplicate id"
UNANSWERED = "entry without annotation"
STRAY = "annotation without entry"
EMPTY = "empty text"
OUTSIDE = "path leaves the folder"
MISSING = "missing image"
UNREADABLE = "unreadable image"
TOKEN = "image token in a text"

# Kinds of notes.
REPEATED = "repeated id made unique"
TEXT_ONLY = "record without an image left out"
SEVERAL = "record with several images left out"
OTHER_MEDIA = "record with video or audio left out"
UNPAIRED = "turn without a partner left out"
OTHER_TURN = "tool message or late system turn left out"
MOVED = "image of a later question moved to the first"
BLANK = "empty caption left out"
UNSPLIT = "entry without a split, found in 'all' only"


@dataclass(frozen=True, slots=True)
class Problem:
    """One problem.

    Attributes:
        kind: one of the kinds above.
        where: the entry, as it can be found in the file: ``"record 3 ('cat-1')"``.
        what: description of the problem.
    """

    kind: str
    where: str
    what: str

    def __str__(self) -> str:
        return f"{self.where}: {self.what}"


@dataclass
class Report:
    """Every problem found in one data set, in the order found. An entry with a problem is not usable.

    Attributes:
        source: the file or table.
        problems: all problems.
        looked: number of entries read, by noun: ``{"records": 6}``.
        notes: number of entries left out or changed without being a problem, by kind:
            ``{"repeated id made unique": 2}``.
    """

    source: str
    problems: list[Problem] = field(default_factory=list)
    looked: Counter[str] = field(default_factory=Counter)
    notes: Counter[str] = field(default_factory=Counter)

    def add(self, kind: str, where: str, what: str) -> None:
        """Add a problem."""
        self.problems.append(Problem(kind, where, what))

    def note(self, kind: str, count: int = 1) -> None:
        """Count entries that were left out or changed without being a problem."""
        if count:
            self.notes[kind] += count

    def __len__(self) -> int:
        """Return the number of problems, without notes."""
        return len(self.problems)

    def noted(self) -> str:
        """Return the notes as text: ``"2 x repeated id made unique"``; empty without notes."""
        return ", ".join(f"{count} x {kind}" for kind, count in self.notes.most_common() if count)

    def counts(self) -> dict[str, int]:
        """Return the number of problems by kind, the most frequent first."""
        return dict(Counter(problem.kind for problem in self.problems).most_common())

    def __str__(self) -> str:
        """Return the report as text: number of problems by kind, and the first ten."""
        return self.text()

    def text(self, advice: str = "") -> str:
        """Return the report as text, with `advice` on what to do; a single problem makes a single line."""
        looked = " and ".join(f"{count} {noun}" for noun, count in self.looked.items()) or "no entries"
        noted = f"; noted: {self.noted()}" if self.noted() else ""
        if not self.problems:
            return f"{self.source}: no problems in {looked}{noted}"
        kinds = ", ".join(f"{kind}: {count}" for kind, count in self.counts().items())
        head = f"{self.source} has {len(self)} problem(s) in {looked} ({kinds}){noted}"
        then = f"; {advice}" if advice else ""
        if len(self) == 1:
            return f"{head}: {cut(str(self.problems[0]), _LONGEST).rstrip('.')}{then}."
        shown = "\n".join(f"  - {cut(str(problem), _LONGEST)}" for problem in self.problems[:SHOWN])
        more = f"\n  ... and {len(self) - SHOWN} more" if len(self) > SHOWN else ""
        return f"{head}{then}:\n{shown}{more}"

    def write(self, target: str | Path) -> Path:
        """Write all problems as a tab-separated table of kind, where and what; then the notes.

        Raises:
            PcvrError: the disk is full or not writable, or `target` exists and is not such a table.
        """
        check_place(target, "file", is_report)
        rows = [_HEAD, *((each.kind, each.where, each.what) for each in self.problems)]
        rows += [(kind, "", f"{count} in all") for kind, count in self.notes.most_common() if count]
        text = "\n".join("\t".join(_one_line(cell) for cell in row) for row in rows)
        write_text(target, text + "\n")
        return Path(target)


class BadData(PcvrError):
    """Data with problems; the message lists the first ten.

    Attributes:
        report: all of them; ``report.write("problems.tsv")`` makes a table.
    """

    def __init__(self, report: Report, advice: str = "correct them, or give skip_bad=True to leave them out") -> None:
        super().__init__()
        self.args = (legible(report.text(advice)),)  # ten problems are longer than PcvrError allows
        self.report = report

    @property
    def problems(self) -> list[Problem]:
        """All problems, in the order found."""
        return self.report.problems


class EntryError(PcvrError):
    """An entry has a problem; readers collect these in a :class:`Report`."""

    def __init__(self, kind: str, what: str) -> None:
        super().__init__(what)
        self.kind = kind


def is_report(file: Path) -> bool:
    """Return whether :meth:`Report.write` wrote a file."""
    with file.open("rb") as stream:
        return stream.readline(100) == "\t".join(_HEAD).encode() + b"\n"


def _one_line(text: str) -> str:
    """Return `text` on one line, with lone surrogates escaped, since they have no UTF-8 form."""
    return " ".join(text.encode("utf-8", "backslashreplace").decode().split())
