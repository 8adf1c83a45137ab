"""Draw the interval of every seed of a rate: seeds are never pooled."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pcvr.plots.style import INK

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from pcvr.evaluation.seeds import SeedRates


def seed_lines(axes: Axes, rates: SeedRates, y: float, spread: float = 0.3, **look: Any) -> float:
    """Draw a horizontal line for each seed's 95 % Wilson interval, in per cent, side by side about `y`.

    Args:
        axes: to draw on.
        rates: the seeds.
        y: height of the middle.
        spread: height that all lines together take.
        look: of the lines, as matplotlib takes it.

    Returns:
        The highest upper end, per cent.
    """
    style = {"color": INK, "lw": 1.5} | look
    for place, (low, high) in zip(places(len(rates.hits), spread), rates.wilson, strict=True):
        axes.plot([100 * low, 100 * high], [y + place] * 2, **style)
    return 100 * rates.bound


def percent(rates: SeedRates) -> str:
    """Return the mean rate in per cent, short: one decimal below ten; without a hit in any seed the upper bound."""
    if not any(rates.hits):
        return f"< {100 * rates.bound:.1f}"
    mean = 100 * rates.mean
    return f"{mean:.0f}" if mean >= 10 else f"{mean:.1f}"


def places(count: int, spread: float = 1.0) -> list[float]:
    """Return the places of so many things side by side about 0."""
    return [spread * ((k + 0.5) / count - 0.5) for k in range(count)]
