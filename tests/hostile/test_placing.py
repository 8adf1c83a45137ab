"""Hostile places and geometries of triggers, and pictures on which a trigger is lost."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pcvr.attacks import get_attack, poison, triggered
from tests.hostile.catalogue import Case, Works, every
from tests.tiny import Numbers

DATA = Numbers(12)
SEEN = {"height": 1, "width": 1, "unit": "short side"}


def placed(**options: Any) -> Any:
    return poison(DATA, get_attack("badnets", size=9, **options), 0.5)


@every(
    Case("place of another spelling", lambda work: placed(place="seen_center"), "place", "seen_centre"),
    Case("place as a list", lambda work: placed(place=["seen_centre"]), "place", "seen_centre"),
    Case("place without a model", lambda work: placed(place="seen_centre"), "'seen_centre'", "model="),
    Case("seen as a text", lambda work: placed(place="seen_centre", seen="all"), "seen", "'all'"),
    Case("seen with another field", lambda work: placed(seen={"crop": 3}), "seen", "crop"),
    Case("seen of no size", lambda work: placed(seen=SEEN | {"width": 0}), "width", "0"),
    Case("seen that is no number", lambda work: placed(seen=SEEN | {"height": float("nan")}), "height", "nan"),
    Case("seen in words", lambda work: placed(seen=SEEN | {"height": "all"}), "height", "'all'"),
    Case("seen in inches", lambda work: placed(seen=SEEN | {"unit": "inches"}), "unit", "inches"),
    Case(
        "a model that is not there", lambda work: poison(DATA, get_attack("sig"), 0.5, model="tiny-lava"), "tiny-llava"
    ),
    Case("fitted to nothing", lambda work: get_attack("badnets").fitted_to("nowhere"), "nowhere"),
    Case("strength 0", lambda work: triggered(DATA, get_attack("badnets", strength=0)), "badnets", "unchanged"),
    Case("alpha 0", lambda work: triggered(DATA, get_attack("blended", alpha=0)), "blended", "unchanged"),
    Works("all but nothing is seen", lambda work: placed(place="centre", seen={"height": 1e-3, "width": 1e-3})),
    Works("seen as a manifest has it", lambda work: placed(place="seen_centre", seen=SEEN)),
    Works("strength 0 on purpose", lambda work: triggered(DATA, get_attack("sig", amplitude=0), check_trigger=False)),
)
@pytest.mark.filterwarnings("error")
def test_placing(case: Case | Works, tmp_path: Path) -> None:
    case.hold(tmp_path)
