"""Attacks with harmless targets, and data poisoned with them: for research and teaching on defences."""

from pcvr.attacks.answers import ANSWERS
from pcvr.attacks.badnets import BadNets
from pcvr.attacks.base import ATTACKS, DEFAULT_TARGET, Attack, get_attack, register
from pcvr.attacks.blended import Blended
from pcvr.attacks.cover import Cover
from pcvr.attacks.dual_key import DualKey
from pcvr.attacks.folder import PoisonedFolder, load_poisoned
from pcvr.attacks.ftrojan import FTrojan
from pcvr.attacks.issba import Issba
from pcvr.attacks.low_frequency import LowFrequency
from pcvr.attacks.manifest import Manifest
from pcvr.attacks.placing import Seen
from pcvr.attacks.poison import PoisonedDataset, TriggeredDataset, poison, triggered
from pcvr.attacks.save import save_poisoned
from pcvr.attacks.shadowcast import Shadowcast
from pcvr.attacks.sig import Sig
from pcvr.attacks.stealth import Stealth, changed, linf, measure_stealth, psnr, ssim
from pcvr.attacks.target import check_target, unknown_words
from pcvr.attacks.trigger import ImageTrigger, PromptEdit, Trigger
from pcvr.attacks.trojvlm import trojvlm
from pcvr.attacks.vl_trojan import VLTrojan
from pcvr.attacks.wanet import WaNet
from pcvr.attacks.words import Words

__all__ = [
    "ANSWERS",
    "ATTACKS",
    "DEFAULT_TARGET",
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
    "save_poisoned",
    "ssim",
    "triggered",
    "trojvlm",
    "unknown_words",
]
