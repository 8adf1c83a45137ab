"""The checks of the exercises, one file each. Notebooks call them by name: ``check.poison_indices(choose)``."""

from pcvr.teaching.check.attacker import attacker
from pcvr.teaching.check.auroc import auroc
from pcvr.teaching.check.capped_pull_apart import capped_pull_apart
from pcvr.teaching.check.choose_setting import choose_setting
from pcvr.teaching.check.entropy_bound import entropy_bound
from pcvr.teaching.check.entropy_ceiling import entropy_ceiling
from pcvr.teaching.check.errors_apart import errors_apart
from pcvr.teaching.check.expected_alarms import expected_alarms
from pcvr.teaching.check.frontier import frontier
from pcvr.teaching.check.greedy_decode import greedy_decode
from pcvr.teaching.check.js_divergence import js_divergence
from pcvr.teaching.check.label_divergence import label_divergence
from pcvr.teaching.check.patch_map import patch_map
from pcvr.teaching.check.poison_indices import poison_indices
from pcvr.teaching.check.principal_angles import principal_angles
from pcvr.teaching.check.seen_fraction import seen_fraction
from pcvr.teaching.check.suspicion_score import suspicion_score
from pcvr.teaching.check.trace_source import trace_source
from pcvr.teaching.check.trusted_loss import trusted_loss

told_divergence = label_divergence
"""The name of the check in notebooks of version 0.1.0."""

__all__ = [
    "attacker",
    "auroc",
    "capped_pull_apart",
    "choose_setting",
    "entropy_bound",
    "entropy_ceiling",
    "errors_apart",
    "expected_alarms",
    "frontier",
    "greedy_decode",
    "js_divergence",
    "label_divergence",
    "patch_map",
    "poison_indices",
    "principal_angles",
    "seen_fraction",
    "suspicion_score",
    "trace_source",
    "trusted_loss",
]
