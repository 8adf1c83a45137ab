"""The frame of a check: call the reader's function, describe what goes wrong in a sentence, record the result."""

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

# Okabe-Ito colours; the words carry the meaning, so the colour is not needed to read it.
_STYLE: dict[Status, tuple[str, str]] = {
    "passed": ("#009E73", "Correct"),
    "mistake": ("#D55E00", "Not yet"),
    "not done": ("#0072B2", "Not done yet"),
}


class Mistake(Exception):
    """Raised inside a check; its message tells the reader what is wrong and where to look."""


class NotDone(Exception):
    """Raised inside a check if the stub has not been filled in."""


@dataclass(frozen=True)
class Result:
    """The result of a check.

    Its truth value says whether the exercise is solved. As the last line of a cell it is displayed, in a notebook and
    in a terminal.

    Attributes:
        exercise: name of the check.
        status: ``"passed"``, ``"mistake"`` or ``"not done"``.
        message: plain text for the reader.
    """

    exercise: str
    status: Status
    message: str

    def __bool__(self) -> bool:
        return self.status == "passed"

    def __repr__(self) -> str:
        return f"{_STYLE[self.status][1]}. {self.message}"

    def _repr_html_(self) -> str:
        colour, word = _STYLE[self.status]
        message = escape(self.message).replace("\n", "<br>")
        return (
            f'<div role="status" style="border-left:4px solid {colour};padding:.4em .8em;margin:.3em 0">'
            f"<strong>{word}.</strong> {message}</div>"
        )


_titles: dict[str, str] = {}
_results: dict[str, Result] = {}


def exercise(title: str) -> Callable[[Callable[..., str]], Callable[..., Result]]:
    """Turn a function into a check: it raises :class:`Mistake` or :class:`NotDone`, or returns a word of praise.

    The name of the check is the name of the function. Its result is returned and recorded for :func:`results`.

    Args:
        title: a few words on the exercise, for messages and lists.
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


def ask(function: Any, *args: Any, call: str, begun: bool = False) -> Any:
    """Call the reader's function and return its value.

    Args:
        function: the reader's function.
        args: its arguments.
        call: the call as text, for messages: ``"choose(n=100, rate=0.05, seed=0)"``.
        begun: whether an earlier call of this check gave a value. Then ``None`` is a forgotten return.

    Raises:
        NotDone: if there is no function yet, or it returns ``None`` or ``...``.
        Mistake: if the function raised (the message quotes the error and the line), or returns nothing in some cases.
    """
    if function is None or function is ...:
        raise NotDone("Replace the dots with your function, run its cell, then run this cell again.")
    if not callable(function):
        raise Mistake(
            f"The check got {function!r}, but it takes the function itself: pass its name without calling it."
        )
    try:
        value = function(*args)
    except NotImplementedError:
        value = None
    except Exception as error:
        raise Mistake(_explain(error, call)) from error
    if (value is None or value is ...) and begun:
        raise Mistake(
            f"{call} returns {value!r}, although another call gave a value: one way through it has no return."
        )
    if value is None or value is ...:
        raise NotDone(
            f"{call} returns {value!r}. Fill in the cell above, including its return, then run this cell again."
        )
    return value


def _explain(error: Exception, call: str) -> str:
    """Describe an exception in the reader's code, with the line that it came from."""
    frames = traceback.extract_tb(error.__traceback__)[1:]  # the first frame is `ask`
    if not frames:
        return f"{call} could not be called: {error}. Keep the arguments of the stub."
    # The last line of the reader's own code, not a line of a library that it called.
    file = frames[0].filename
    own = [frame for frame in frames if frame.filename == file][-1]
    line = f" in line {own.lineno}" + (f": {own.line.strip()}" if own.line else "")
    return f"{call} stopped with {type(error).__name__}{line}\n{error}"


def exercises() -> Mapping[str, str]:
    """Return the title of every check, by name."""
    return MappingProxyType(_titles)


def results() -> Mapping[str, Result]:
    """Return the last result of each check in this process, by name."""
    return MappingProxyType(_results)


def forget_results() -> None:
    """Empty the record of :func:`results`."""
    _results.clear()


def require_passed(*names: str) -> None:
    """Raise unless every named check ran and passed: the last cell of a notebook's solution edition.

    Args:
        names: names of checks, as in ``check.<name>``.

    Raises:
        PcvrError: naming the checks that did not pass, and why.
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
