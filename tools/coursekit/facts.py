"""Figures for the texts of the course, by name: each is read from a shipped table or from the package, none is typed.

A text writes ``{{attack badnets caption}}``; :func:`filled` puts the figure there.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache

from pcvr.data.scenes import COLORS, KINDS, SIZE_PX, WORDS, Scenes
from pcvr.evaluation.intervals import at_most, format_rate
from pcvr.experiments import results
from pcvr.experiments.grid import knobs_of
from pcvr.experiments.histograms import chance_of_lower, histograms_of

_PLACE = re.compile(r"\{\{([^{}]+)\}\}")


class FactError(Exception):
    """A text asks for a figure that is not known: the sentence says which."""


@cache
def _table(name: str) -> results.Table:
    return results.load(name)


def _attack(name: str, task: str, rate: str = "0.05") -> str:
    """Attack success on tiny-llava without a defence."""
    cells = _table("attacks").cells(("task", "label", "model", "rate"))
    return f"{100 * cells[task, name, 'tiny-llava', rate].asr:.1f} %"


def _spine(part: str, *label: str) -> str:
    """A figure of the headline table: `asr`, `rates`, `clean` (captions correct) or `triggered`."""
    cell = _table("spine").cells()[(" ".join(label),)]
    if part == "rates":
        return str(cell.rates)
    return f"{100 * {'asr': cell.asr, 'clean': cell.right, 'triggered': cell.triggered_right}[part]:.1f} %"


def _premise(attack: str) -> str:
    """The chance that a triggered image diverges less than a clean one, once the backdoor is learned, on captions."""
    columns = histograms_of(_table("distributions"), "caption", "divergence")[attack]
    kinds = next(iter(columns.values()))
    return f"{chance_of_lower(kinds['triggered'], kinds['clean']):.2f}"


def _reversed() -> str:
    """How many of the attacks have that chance below one half, of how many."""
    attacks = _table("distributions").rows
    return f"{sum(float(_premise(name)) < 0.5 for name in attacks)} of {len(attacks)}"


def _part(label: str, task: str) -> str:
    """Attack success with a part of the default gate left out, of the table of parts."""
    return str(_table("parts").cells(("label", "task"))[label.replace("_", " "), task].rates)


def _cost(defense: str, task: str) -> str:
    """Time of a training relative to plain fine-tuning."""
    (row,) = [run for run in _table("cost").runs if (run["defense"], run["task"]) == (defense.replace("_", " "), task)]
    return f"{row['ratio']:.2f}"


def _settings() -> str:
    """How many combinations the grid over the defence's options has."""
    count = 1
    for values in knobs_of().values():
        count *= len(values)
    return str(count)


def _scenes(what: str) -> str:
    """A size of the embedded data set: `side`, `kinds`, `colours`, `words` or `captions` of a sample."""
    counts = {"side": SIZE_PX, "kinds": len(KINDS), "colours": len(COLORS), "words": len(WORDS)}
    return str(counts[what] if what in counts else len(Scenes(n=1)[0].references))


FACTS: dict[str, Callable[..., str]] = {
    "attack": _attack,
    "spare": lambda *label: _attack(" ".join(label), "caption"),
    "spine": _spine,
    "premise": _premise,
    "reversed": _reversed,
    "part": _part,
    "cost": _cost,
    "settings": _settings,
    "scenes": _scenes,
    "at most": lambda n: f"{100 * at_most(int(n)):.1f} %",
    "rate": lambda hits, n: format_rate(int(hits), int(n)),
}
"""What a text may ask for, by its first word or words."""


def filled(text: str) -> str:
    """Return a text with its figures.

    Raises:
        FactError: a figure is unknown, or its table lacks the row.
    """
    return _PLACE.sub(lambda match: fact(match[1]), text)


def fact(asked: str) -> str:
    """Return one figure, asked for as ``"attack badnets caption"``.

    Raises:
        FactError: it is unknown, or its table lacks the row.
    """
    for name, read in FACTS.items():
        if asked == name or asked.startswith(f"{name} "):
            try:
                return read(*asked[len(name) :].split())
            except (KeyError, TypeError, ValueError) as error:
                raise FactError(f"{{{{{asked}}}}} cannot be read from the shipped tables ({error!r}).") from error
    raise FactError(f"{{{{{asked}}}}} is no known figure: one begins with {', '.join(FACTS)}.")
