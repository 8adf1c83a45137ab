"""Show the entropy of attention that BYE reads: its bound, and where poisoned samples lie."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from pcvr.analysis.attention_spread import AttentionSpread, entropy_bound
from pcvr.errors import PcvrError
from pcvr.plots.describe import described
from pcvr.plots.style import CLEAN, LINES, PAGE, PALETTE, TRIGGERED, figure_style

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_MOST = 4  # layers that are drawn
_BINS = 28


def bound_picture(on: Mapping[str, int], tokens: int) -> Figure:
    """Draw the highest entropy that attention can have, over the share that lies on the trigger; a line each attack.

    Args:
        on: attack to the number of image tokens on which its trigger lies, at least one attack.
        tokens: number of image tokens.

    Raises:
        PcvrError: there is no attack, or a number of tokens is out of range.
    """
    from matplotlib.figure import Figure

    if not on:
        raise PcvrError("on is empty: give at least one attack with the tokens of its trigger.")
    share = np.linspace(0, 1, 201)
    said = []
    with figure_style():
        figure = Figure(figsize=(6.5, 3.4), layout="constrained")
        axes = figure.subplots()
        for k, (attack, count) in enumerate(on.items()):
            bound, label = entropy_bound(share, count, tokens), f"{attack}: {count} of {tokens} tokens"
            axes.plot(100 * share, bound, color=PALETTE[k % len(PALETTE)], ls=LINES[k % len(LINES)], lw=2, label=label)
            said.append(f"{label}, at 50 % {bound[100]:.2f}, at 90 % {bound[180]:.2f}, at 100 % {bound[200]:.2f}")
        axes.set(ylim=(-0.02, 1.08), ylabel="highest entropy (1 = even)")
        axes.set_xlabel("attention that lies on the trigger (% of that to the image)")
        axes.legend(loc="best", title="the trigger lies on")
    return described(figure, f"The highest possible entropy of attention for each attack: {'; '.join(said)}.")


def entropy_panels(spreads: Mapping[str, AttentionSpread]) -> Figure:
    """Draw a row for each attack and a histogram for each layer, of clean and of poisoned training samples.

    The title of a panel says whether BYE reads the layer, and how well a low entropy tells the poisoned samples. Of
    many layers four are drawn, those that BYE reads first.

    Args:
        spreads: attack to its entropies, at least one; all of the same model.

    Raises:
        PcvrError: there is none.
    """
    from matplotlib.figure import Figure

    if not spreads:
        raise PcvrError("spreads is empty: give at least one attack with its entropies.")
    shown = {attack: _layers(each) for attack, each in spreads.items()}
    across = max(map(len, shown.values()))
    said = []
    with figure_style():
        figure = Figure(figsize=(PAGE, 2.3 * len(spreads) + 0.7), layout="constrained")
        grid = figure.subplots(len(spreads), across, squeeze=False, sharex=True)
        for line, (attack, each) in zip(grid, spreads.items(), strict=True):
            for axes, layer in zip(line, shown[attack], strict=False):
                values, auroc = each.entropies[:, layer], each.auroc(layer)
                for group, colour, name in ((~each.poisoned, CLEAN, "clean"), (each.poisoned, TRIGGERED, "poisoned")):
                    weights = np.full(group.sum(), 100 / group.sum())
                    axes.hist(values[group], np.linspace(0, 1, _BINS + 1), weights=weights, color=colour, alpha=0.65,
                              label=name, hatch="//" if name == "poisoned" else None)  # fmt: skip
                read = ", read" if layer in each.layers else ""
                axes.set_title(f"layer {layer + 1}{read}\nAUROC {auroc:.2f}", fontsize=9)
                said.append(f"{attack}, layer {layer + 1}{read}: AUROC {auroc:.2f}, median entropy "
                            f"{np.median(values[~each.poisoned]):.2f} clean, "
                            f"{np.median(values[each.poisoned]):.2f} poisoned")  # fmt: skip
            line[0].set_ylabel(f"{attack}\nsamples (%)")
        for axes in grid[-1]:
            axes.set(xlim=(-0.02, 1.02), xlabel="entropy (1 = even)")
        figure.legend(*grid[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=2, fontsize=9)
    return described(figure, f"Histograms of the entropy of attention for each attack. {'; '.join(said)}.")


def _layers(each: AttentionSpread) -> list[int]:
    """The layers that are drawn, ascending: those that are read, and others evenly over the depth."""
    count = each.entropies.shape[1]
    if count <= _MOST:
        return list(range(count))
    others = [int(layer) for layer in np.linspace(0, count - 1, _MOST).round()]
    return sorted(list(dict.fromkeys([*each.layers, *others]))[:_MOST])
