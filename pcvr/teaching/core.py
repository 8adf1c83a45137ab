"""How a check works: it calls the reader's function, turns what goes wrong into a sentence, and keeps a record."""

from __future__ import annotations

import functools
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from html import escape
from types import MappingProxyType
from typing import Any, Literal

from pcvr.errors import PcvrError

Status = Literal["passed", "mistake", "not done"]

# Okabe-Ito colours; the words carry the meaning, the colour only repeats it.
_LOOK: dict[Status, tuple[str, str]] = {
    "passed": ("#009E73", "Right"),
    "mistake": ("#D55E00", "Not yet"),
    "not done": ("#0072B2", "Not done yet"),
}


class Mistake(Exception):
    """Raised inside a check: the message tells the reader what is wrong and where to look."""


class NotDone(Exception):
    """Raised inside a check: the stub has not been filled in."""


@dataclass(frozen=True)
class Result:
    """What a check found.

    True when the exercise is solved. As the last line of a cell it shows itself, in a notebook and in a terminal alike.

    Attributes:
        exercise: the check's name.
        status: ``"passed"``, ``"mistake"`` or ``"not done"``.
        message: plain text for the reader.
    """

    exercise: str
    status: Status
    message: str

    def __bool__(self) -> bool:
        return self.status == "passed"

    def __repr__(self) -> str:
        return f"{_LOOK[self.status][1]}. {self.message}"

    def _repr_html_(self) -> str:
        colour, word = _LOOK[self.status]
        message = escape(self.message).replace("\n", "<br>")
        return (
            f'<div role="status" style="border-left:4px solid {colour};padding:.4em .8em;margin:.3em 0">'
            f"<strong>{word}.</strong> {message}</div>"
        )


_titles: dict[str, str] = {}
_results: dict[str, Result] = {}


def exercise(title: str) -> Callable[[Callable[..., str]], Callable[..., Result]]:
    """Make a check out of a function that raises :class:`Mistake` or :class:`NotDone`, or returns a word of praise.

    The check's name is the function's name. What it finds is returned and recorded for :func:`results`.

    Args:
        title: the exercise in a few words, for messages and lists.
    """

    def decorate(body: Callable[..., str]) -> Callable[..., Result]:
        name = body.__name__
        _titles[name] = title

        @functools.wraps(body)
        def run(*args: Any, **kwargs: Any) -> Result:
            try:
                found = Result(name, "passed", body(*args, **kwargs))
            except NotDone as empty:
                found = Result(name, "not done", str(empty))
            except Mistake as mistake:
                found = Result(name, "mistake", str(mistake))
            _results[name] = found
            return found

        return run

    return decorate


def ask(function: Any, *args: Any, call: str) -> Any:
    """Call the reader's function and return its value.

    Args:
        function: what the reader wrote.
        args: what to call it with.
        call: how the call reads, for messages: ``"choose(n=100, rate=0.05, seed=0)"``.

    Raises:
        NotDone: there is no function yet, or it returns ``None`` or ``...``.
        Mistake: the function raised; the message quotes the error and the line.
    """
    if function is None or function is ...:
        raise NotDone("Replace the dots by your function, run its cell, then run this one again.")
    if not callable(function):
        raise Mistake(f"The check takes the function itself: give it by name, without calling it. It got {function!r}.")
    try:
        value = function(*args)
    except NotImplementedError:
        value = None
    except Exception as error:
        raise Mistake(_explain(error, call)) from error
    if value is None or value is ...:
        raise NotDone(
            f"{call} gives {value!r} so far. Fill in the cell above, its return included, then run this one again."
        )
    return value


def _explain(error: Exception, call: str) -> str:
    """One sentence about an exception in the reader's code, with the line it came from."""
    frames = traceback.extract_tb(error.__traceback__)[1:]  # the first frame is ours
    if not frames:
        return f"{call} could not be called: {error}. Keep the function's arguments as the stub has them."
    # The reader's own line, not the library's in which it ended.
    file = frames[0].filename
    own = [frame for frame in frames if frame.filename == file][-1]
    line = f" in line {own.lineno}" + (f": {own.line.strip()}" if own.line else "")
    return f"{call} stopped with {type(error).__name__}{line}\n{error}"


def exercises() -> Mapping[str, str]:
    """The name of every check with its title."""
    return MappingProxyType(_titles)


def results() -> Mapping[str, Result]:
    """What each check found when it last ran in this process, by name."""
    return MappingProxyType(_results)


def forget_results() -> None:
    """Empty the record of :func:`results`."""
    _results.clear()


def require_passed(*names: str) -> None:
    """Stop unless every check named here ran and passed: the last cell of a notebook's solution edition.

    Args:
        names: checks, as in ``check.<name>``.

    Raises:
        PcvrError: says which did not pass, and why.
    """
    unsolved = []
    for name in names:
        found = _results.get(name)
        if found is None:
            unsolved.append(f"{name}: the check has not run")
        elif not found:
            unsolved.append(f"{name}: {found!r}")
    if unsolved:
        raise PcvrError("these exercises are not solved:\n" + "\n".join(unsolved))
