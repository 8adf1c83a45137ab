"""The checks of the exercises, one file each. Notebooks call them by name: ``check.poison_indices(choose)``."""

from pcvr.teaching.check.answer_log_prob import answer_log_prob
from pcvr.teaching.check.attack_success import attack_success
from pcvr.teaching.check.attacker import attacker
from pcvr.teaching.check.auroc import auroc
from pcvr.teaching.check.capped_pull_apart import capped_pull_apart
from pcvr.teaching.check.choose_setting import choose_setting
from pcvr.teaching.check.choose_threshold import choose_threshold
from pcvr.teaching.check.entropy_bound import entropy_bound
from pcvr.teaching.check.entropy_ceiling import entropy_ceiling
from pcvr.teaching.check.entropy_of import entropy_of
from pcvr.teaching.check.errors_apart import errors_apart
from pcvr.teaching.check.expected_alarms import expected_alarms
from pcvr.teaching.check.find_trigger import find_trigger
from pcvr.teaching.check.frontier import frontier
from pcvr.teaching.check.greedy_decode import greedy_decode
from pcvr.teaching.check.images_needed import images_needed
from pcvr.teaching.check.js_divergence import js_divergence
from pcvr.teaching.check.knob_effects import knob_effects
from pcvr.teaching.check.label_divergence import label_divergence
from pcvr.teaching.check.late_order import late_order
from pcvr.teaching.check.patch_map import patch_map
from pcvr.teaching.check.plausible_target import plausible_target
from pcvr.teaching.check.poison_indices import poison_indices
from pcvr.teaching.check.principal_angles import principal_angles
from pcvr.teaching.check.psnr import psnr
from pcvr.teaching.check.rank_of import rank_of
from pcvr.teaching.check.safest_defence import safest_defence
from pcvr.teaching.check.seen_fraction import seen_fraction
from pcvr.teaching.check.stamp import stamp
from pcvr.teaching.check.suspicion_score import suspicion_score
from pcvr.teaching.check.trace_source import trace_source
from pcvr.teaching.check.trusted_loss import trusted_loss
from pcvr.teaching.check.verdict import verdict
from pcvr.teaching.check.wilson import wilson

told_divergence = label_divergence
"""The name of the check in notebooks of version 0.1.0."""

__all__ = [
    "answer_log_prob",
    "attack_success",
    "attacker",
    "auroc",
    "capped_pull_apart",
    "choose_setting",
    "choose_threshold",
    "entropy_bound",
    "entropy_ceiling",
    "entropy_of",
    "errors_apart",
    "expected_alarms",
    "find_trigger",
    "frontier",
    "greedy_decode",
    "images_needed",
    "js_divergence",
    "knob_effects",
    "label_divergence",
    "late_order",
    "patch_map",
    "plausible_target",
    "poison_indices",
    "principal_angles",
    "psnr",
    "rank_of",
    "safest_defence",
    "seen_fraction",
    "stamp",
    "suspicion_score",
    "trace_source",
    "trusted_loss",
    "verdict",
    "wilson",
]
