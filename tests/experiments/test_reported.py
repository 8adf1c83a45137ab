"""What papers report: every figure is a rate with its source."""

from __future__ import annotations

import re

from pcvr.experiments.reported import FILTERS, FILTERS_SOURCE, REPORTED


def test_rates_have_a_source() -> None:
    for each in REPORTED:
        assert 0 <= each.low <= each.high <= 100 and each.setting and re.fullmatch(r"\d{4}\.\d{5}", each.source)
    assert re.fullmatch(r"\d{4}\.\d{5}", FILTERS_SOURCE)
    assert len({tuple(each) for each in FILTERS.values()}) == 1
    assert all(0 <= f1 <= 100 for each in FILTERS.values() for f1 in each.values())
