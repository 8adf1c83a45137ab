"""The checks of the exercises, one file each, by the name the notebooks call: ``check.poison_indices(choose)``."""

from pcvr.teaching.check.auroc import auroc
from pcvr.teaching.check.capped_pull_apart import capped_pull_apart
from pcvr.teaching.check.choose_setting import choose_setting
from pcvr.teaching.check.frontier import frontier
from pcvr.teaching.check.greedy_decode import greedy_decode
from pcvr.teaching.check.js_divergence import js_divergence
from pcvr.teaching.check.patch_map import patch_map
from pcvr.teaching.check.poison_indices import poison_indices
from pcvr.teaching.check.told_divergence import told_divergence

__all__ = [
    "auroc",
    "capped_pull_apart",
    "choose_setting",
    "frontier",
    "greedy_decode",
    "js_divergence",
    "patch_map",
    "poison_indices",
    "told_divergence",
]
