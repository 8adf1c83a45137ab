"""Attacks with harmless targets, and data poisoned with them: for research and teaching on defences."""

from pcvr.attacks.badnets import BadNets
from pcvr.attacks.base import (
    ANSWERS,
    ATTACKS,
    DEFAULT_TARGET,
    Attack,
    ImageTrigger,
    PromptEdit,
    Trigger,
    get_attack,
    register,
)
from pcvr.attacks.folder import PoisonedFolder, load_poisoned, save_poisoned
from pcvr.attacks.manifest import Manifest
from pcvr.attacks.poison import PoisonedDataset, TriggeredDataset, poison, triggered
from pcvr.attacks.stealth import Stealth, changed, linf, measure_stealth, psnr, ssim
from pcvr.attacks.target import check_target, unknown_words

__all__ = [
    "ANSWERS",
    "ATTACKS",
    "DEFAULT_TARGET",
    "Attack",
    "BadNets",
    "ImageTrigger",
    "Manifest",
    "PoisonedDataset",
    "PoisonedFolder",
    "PromptEdit",
    "Stealth",
    "Trigger",
    "TriggeredDataset",
    "changed",
    "check_target",
    "get_attack",
    "linf",
    "load_poisoned",
    "measure_stealth",
    "poison",
    "psnr",
    "register",
    "save_poisoned",
    "ssim",
    "triggered",
    "unknown_words",
]
