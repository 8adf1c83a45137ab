"""Attacks with harmless targets, and data poisoned with them: for research and teaching on defences."""

from typing import TYPE_CHECKING

from pcvr.attacks.adaptive import ADAPTIONS
from pcvr.attacks.answers import ANSWERS, AnswerMode
from pcvr.attacks.base import DEFAULT_TARGET, Attack, Cover
from pcvr.attacks.manifest import Manifest
from pcvr.attacks.placing import Seen
from pcvr.attacks.poison import PoisonedDataset, TriggeredDataset, poison, triggered
from pcvr.attacks.poisoned_folder import PoisonedFolder, load_poisoned
from pcvr.attacks.registry import ATTACKS, get_attack, register_attack
from pcvr.attacks.save import save_poisoned
from pcvr.attacks.stealth import Stealth, changed, linf, measure_stealth, psnr, ssim
from pcvr.attacks.target_check import check_target, unknown_words
from pcvr.attacks.trigger import ImageTrigger, PromptEdit, Trigger
from pcvr.utils.lazy import lazy_imports

if TYPE_CHECKING:
    from pcvr.attacks.triggers.badnets import BadNets
    from pcvr.attacks.triggers.blended import Blended
    from pcvr.attacks.triggers.dual_key import DualKey
    from pcvr.attacks.triggers.ftrojan import FTrojan
    from pcvr.attacks.triggers.issba import Issba
    from pcvr.attacks.triggers.low_frequency import LowFrequency
    from pcvr.attacks.triggers.pgd import Optimised
    from pcvr.attacks.triggers.shadowcast import Shadowcast
    from pcvr.attacks.triggers.sig import Sig
    from pcvr.attacks.triggers.trojvlm import trojvlm
    from pcvr.attacks.triggers.vl_trojan import VLTrojan
    from pcvr.attacks.triggers.wandering import Wandering
    from pcvr.attacks.triggers.wanet import WaNet
    from pcvr.attacks.triggers.words import Words

register = register_attack
"""The name of :func:`register_attack` before there were other registries."""

__all__ = [
    "ADAPTIONS",
    "ANSWERS",
    "ATTACKS",
    "DEFAULT_TARGET",
    "AnswerMode",
    "Attack",
    "BadNets",
    "Blended",
    "Cover",
    "DualKey",
    "FTrojan",
    "ImageTrigger",
    "Issba",
    "LowFrequency",
    "Manifest",
    "Optimised",
    "PoisonedDataset",
    "PoisonedFolder",
    "PromptEdit",
    "Seen",
    "Shadowcast",
    "Sig",
    "Stealth",
    "Trigger",
    "TriggeredDataset",
    "VLTrojan",
    "WaNet",
    "Wandering",
    "Words",
    "changed",
    "check_target",
    "get_attack",
    "linf",
    "load_poisoned",
    "measure_stealth",
    "poison",
    "psnr",
    "register",
    "register_attack",
    "save_poisoned",
    "ssim",
    "triggered",
    "trojvlm",
    "unknown_words",
]

__getattr__, __dir__, _ = lazy_imports(__name__)
