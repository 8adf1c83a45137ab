"""What papers report of their own defences: other models, data and attacks, so these figures stand apart from ours."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True)
class ReportedSuccess:
    """Attack success as a paper reports it, as a range where it reports several.

    Attributes:
        method: the defence.
        source: arXiv number.
        setting: model, data and attacks, as far as we know them.
        low: least attack success, per cent.
        high: greatest attack success, per cent.
        by: where the figure comes from, if it is not the method's own paper.
    """

    method: str
    source: str
    setting: str
    low: float
    high: float
    by: str = ""


PCVR_PAPER = "2604.04488"
"""arXiv number of the paper that PCVR comes from."""

REPORTED = (
    ReportedSuccess("PCVR (the paper)", PCVR_PAPER, "captions, six attacks; by a summary of the paper", 27, 58,
                    "a machine-written summary"),
    ReportedSuccess("BYORn", "2606.02947", "LLaVA, Flickr30k and COCO", 0.0, 0.4),
    ReportedSuccess("BYORn-F", "2606.02947", "LLaVA, Flickr30k", 0.3, 0.3),
    ReportedSuccess("BYORn, adaptive attackers", "2606.02947", "at most, three attackers", 8.4, 8.4),
    ReportedSuccess("BYE", "2505.16916", "LLaVA", 0.0, 1.4),
    ReportedSuccess("BYE, another model", "2505.16916", "InternVL", 7.0, 12.0),
    ReportedSuccess("CleanSight", "2603.12989", "about 200 trusted samples", 0.0, 2.3),
    ReportedSuccess("OrthoPurify", "2610.09941", "two models, captions and questions, six attacks", 0.0, 0.0),
    ReportedSuccess("RACER", "2608.24354", "mean of 36 settings", 1.1, 1.1),
    ReportedSuccess("layers compared without regions", "2608.24354", "same settings", 53, 98, "the paper on RACER"),
    ReportedSuccess("clean fine-tuning", "2610.09941", "LLaVA, captions", 28, 98, "the paper on OrthoPurify"),
    ReportedSuccess("fine-pruning", "2610.09941", "LLaVA, captions", 0.6, 87, "the paper on OrthoPurify"),
    ReportedSuccess("ANP", "2610.09941", "LLaVA, captions", 9, 86, "the paper on OrthoPurify"),
    ReportedSuccess("CLP", "2610.09941", "LLaVA, captions", 1, 60, "the paper on OrthoPurify"),
)  # fmt: skip
"""Attack success after a defence, in the order in which it is drawn."""

FILTERS: Mapping[str, Mapping[str, float]] = MappingProxyType(
    {
        "TCAP": {"BadNets": 100, "Blended": 98, "SIG": 92, "WaNet": 99, "FTrojan": 85},
        "BYE": {"BadNets": 98, "Blended": 0, "SIG": 10, "WaNet": 4, "FTrojan": 10},
    }
)
"""F1 in per cent of two filters by attack, InternVL2.5 on ScienceQA, as the paper on TCAP reports both."""
FILTERS_SOURCE = "2601.21692"
