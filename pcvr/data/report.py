"""What is wrong with data that came from outside: every problem at once, counted by kind, to read or to write down.

Beside problems there are notes: what was left out or changed as it should be (a record without a picture, an id that
stands twice), so that nothing is dropped in silence. They are only counted.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from pcvr.errors import PcvrError, cut, legible
from pcvr.utils.files import write_text
from pcvr.utils.places import check_place

SHOWN = 10
"""How many problems a message spells out."""
_HEAD = ("kind", "where", "what")
_LONGEST = 400  # characters of each

BROKEN = "broken entry"
DUPLICATE = "duplicate id"
UNANSWERED = "entry without annotation"
STRAY = "annotation without entry"
EMPTY = "empty text"
OUTSIDE = "path leaves the folder"
MISSING = "missing picture"
UNREADABLE = "unreadable picture"
TOKEN = "image token in a text"
SEVERAL = "several pictures"

# Kinds of notes.
REPEATED = "repeated id made unique"
TEXT_ONLY = "record without a picture left out"
UNPAIRED = "turn without a partner left out"
OTHER_TURN = "system or tool message left out"
BLANK = "empty caption left out"
UNSPLIT = "entry without a split, found in 'all' only"


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong.

    Attributes:
        kind: what sort of thing, the same words for all of a sort; counts go by it.
        where: which entry, as a reader finds it in the file: ``"record 3 ('cat-1')"``.
        what: what is wrong with it, in words.
    """

    kind: str
    where: str
    what: str

    def __str__(self) -> str:
        return f"{self.where}: {self.what}"


@dataclass
class Report:
    """Every problem found in one data set, in the order found. An entry with any problem is not usable.

    Attributes:
        source: what was read.
        problems: all of them.
        looked: how many entries of each sort were looked at: ``{"records": 6}``.
        notes: what was left out or changed without being wrong, by kind: ``{"repeated id made unique": 2}``.
    """

    source: str
    problems: list[Problem] = field(default_factory=list)
    looked: Counter[str] = field(default_factory=Counter)
    notes: Counter[str] = field(default_factory=Counter)

    def add(self, kind: str, where: str, what: str) -> None:
        """Note a problem."""
        self.problems.append(Problem(kind, where, what))

    def note(self, kind: str, count: int = 1) -> None:
        """Count something that was left out or changed, and is no problem."""
        if count:
            self.notes[kind] += count

    def __len__(self) -> int:
        """How many problems there are; notes are none."""
        return len(self.problems)

    def noted(self) -> str:
        """The notes in words: ``"2 x repeated id made unique"``; empty where there are none."""
        return ", ".join(f"{count} x {kind}" for kind, count in self.notes.most_common() if count)

    def counts(self) -> dict[str, int]:
        """Kind of problem to how many there are of it, the most frequent first."""
        return dict(Counter(problem.kind for problem in self.problems).most_common())

    def __str__(self) -> str:
        """How many problems, of which kinds, and the first ten in words."""
        return self.said()

    def said(self, advice: str = "") -> str:
        """The report in words, on one line where there is only one problem.

        Args:
            advice: what to do about it, half a sentence.
        """
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
        """Write all problems as a table, one a line: kind, where and what, with tabs between; then the notes.

        Raises:
            PcvrError: the disk is full or not writable, or `target` is there and is no such table.
        """
        check_place(target, "file", is_report)
        rows = [_HEAD, *((each.kind, each.where, each.what) for each in self.problems)]
        rows += [(kind, "", f"{count} in all") for kind, count in self.notes.most_common() if count]
        text = "\n".join("\t".join(_one_line(cell) for cell in row) for row in rows)
        write_text(target, text + "\n")
        return Path(target)


class BadData(PcvrError):
    """Data with problems. The message has the first ten.

    Attributes:
        report: all of them; ``report.write("problems.tsv")`` makes a table.
    """

    def __init__(self, report: Report, advice: str = "put them right, or give skip_bad=True to go on without") -> None:
        """
        Args:
            report: what was found.
            advice: what to do about it, half a sentence.
        """
        super().__init__()
        self.args = (legible(report.said(advice)),)  # a list of ten, which is longer than a sentence may be
        self.report = report

    @property
    def problems(self) -> list[Problem]:
        """All of the problems, in the order found."""
        return self.report.problems


class EntryError(PcvrError):
    """One entry cannot be used; readers collect these into a :class:`Report`."""

    def __init__(self, kind: str, what: str) -> None:
        super().__init__(what)
        self.kind = kind


def is_report(file: Path) -> bool:
    """Whether a file is a table that :meth:`Report.write` wrote."""
    with file.open("rb") as stream:
        return stream.readline(100) == "\t".join(_HEAD).encode() + b"\n"


def _one_line(text: str) -> str:
    """`text` on one line, whatever it holds: a lone half of a surrogate pair has no UTF-8 form."""
    return " ".join(text.encode("utf-8", "backslashreplace").decode().split())
