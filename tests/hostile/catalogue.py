"""The catalogue of hostile inputs: what came, and what has to be said of it. One case is one line.

A file of this folder holds a list of cases and hands it to :func:`every`::

    @every(
        Case("rate above one", lambda work: poison(SCENES, "badnets", 2), "rate", "2", "(0, 1]"),
        Works("a NumPy rate", lambda work: poison(SCENES, "badnets", np.float32(0.5))),
    )
    def test_poison(case: Case | Works, tmp_path: Path) -> None:
        case.hold(tmp_path)

Keep every case light: tiny models (`tests/tiny.py`), a handful of samples, nothing timed.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pcvr.errors import PcvrError

LONGEST = 700
"""Characters of a message that a person still reads."""

Act = Callable[[Path], Any]


class Case:
    """An input that has to be refused in one sentence.

    Args:
        name: what is hostile about it.
        act: does it, in an empty folder of its own.
        words: what the sentence has to contain: the argument, what came, what is allowed.
    """

    def __init__(self, name: str, act: Act, *words: str) -> None:
        self.name, self.act, self.words = name, act, words

    def hold(self, work: Path) -> None:
        """Do it, and read what is said; nothing half-made may be left in `work`."""
        before = set(work.rglob("*"))
        with pytest.raises(PcvrError) as caught:
            self.act(work)
        said = str(caught.value)
        assert all(word in said for word in self.words), said
        assert len(said) <= LONGEST, said
        assert said.rstrip().endswith((".", "?")), said
        left = [path for path in set(work.rglob("*")) - before if path.name.startswith(".")]
        assert not left, f"left behind: {left}"


class Works:
    """An input that looks strange and is good: it has to work, and `check` to hold of what comes out."""

    def __init__(self, name: str, act: Act, check: Callable[[Any], bool] = lambda _: True) -> None:
        self.name, self.act, self.check = name, act, check

    def hold(self, work: Path) -> None:
        """Do it."""
        found = self.act(work)
        assert self.check(found), found


def every(*cases: Case | Works) -> Any:
    """Run a test for each case, under its name."""
    names = [case.name for case in cases]
    assert len(set(names)) == len(names), "two cases of one name"
    return pytest.mark.parametrize("case", cases, ids=names)
