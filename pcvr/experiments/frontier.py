"""The paper's form at its price: attack success against clean CIDEr, relative to plain fine-tuning on the same data."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import mean
from typing import Any

from pcvr.errors import PcvrError
from pcvr.evaluation.intervals import AttackRate

LEAST = 0.9
"""CIDEr that has to be kept, relative to plain fine-tuning: a summary of the paper names a price of about 10 %."""


@dataclass(frozen=True)
class PricedPoint(AttackRate):
    """One training, and what it costs.

    Attributes:
        label: row of the table.
        attack: name of the attack.
        defense: name of the defence; ``"none"`` for plain fine-tuning.
        options: of the defence, as plain values.
        hits: triggered test images answered with the target.
        n: triggered test images.
        utility: clean CIDEr relative to plain fine-tuning on the same data; 1 is no loss.
    """

    label: str
    attack: str
    defense: str
    options: Mapping[str, Any]
    hits: int
    n: int
    utility: float


@dataclass(frozen=True)
class PricedSetting:
    """One setting of a defence, and its means over the attacks.

    Attributes:
        label: row of the table.
        options: of the defence, as plain values.
        asr: mean attack success rate, 0 to 1.
        utility: mean clean CIDEr relative to plain fine-tuning.
        attacks: names of the attacks.
    """

    label: str
    options: Mapping[str, Any]
    asr: float
    utility: float
    attacks: tuple[str, ...]


def priced_points(runs: Sequence[Mapping[str, Any]]) -> list[PricedPoint]:
    """Return a point for each run, in the order of the runs.

    Args:
        runs: on captions, as `pcvr.experiments.run_experiment` returns them; with a run without a defence for each
            attack.

    Raises:
        PcvrError: an attack has no run without a defence.
    """
    plain = {r["experiment"]["attack"]: _cider(r) for r in runs if r["experiment"]["defense"] == "none"}
    found = []
    for run in runs:
        said, record = run["experiment"], run["record"]
        if said["attack"] not in plain:
            raise PcvrError(
                f"the runs hold none of {said['attack']!r} without a defence: add one, to compare CIDEr with."
            )
        found.append(
            PricedPoint(
                label=said["label"],
                attack=said["attack"],
                defense=said["defense"],
                options=dict(said["options"]),
                hits=record["hits"],
                n=record.get("aimed") or record["n"],
                utility=_cider(run) / plain[said["attack"]],
            )
        )
    return found


def priced_settings(points: Sequence[PricedPoint]) -> list[PricedSetting]:
    """Return the means of each setting of a defence over its attacks, in the order in which the settings first come."""
    groups: dict[tuple[str, str], list[PricedPoint]] = {}
    for point in points:
        if point.defense == "none":
            continue
        groups.setdefault((point.label, json.dumps(dict(point.options), sort_keys=True)), []).append(point)
    return [
        PricedSetting(
            label=group[0].label,
            options=group[0].options,
            asr=mean(point.asr for point in group),
            utility=mean(point.utility for point in group),
            attacks=tuple(point.attack for point in group),
        )
        for group in groups.values()
    ]


def best_setting(settings: Sequence[PricedSetting], least: float = LEAST) -> PricedSetting:
    """Return the setting with the lowest mean attack success among those that keep enough CIDEr.

    Of equal ones the setting that keeps more CIDEr is returned.

    Args:
        settings: from `priced_settings`; only those with the largest number of attacks are compared.
        least: CIDEr that has to be kept, relative to plain fine-tuning.

    Raises:
        PcvrError: no setting keeps that much.
    """
    most = max((len(setting.attacks) for setting in settings), default=0)
    kept = [s for s in settings if len(s.attacks) == most and s.utility >= least]
    if not kept:
        raise PcvrError(
            f"no setting keeps {100 * least:g} % of CIDEr: lower `least`, or add settings with less weight."
        )
    return min(kept, key=lambda s: (s.asr, -s.utility))


def _cider(run: Mapping[str, Any]) -> float:
    return float(run["record"]["clean"]["cider"])
