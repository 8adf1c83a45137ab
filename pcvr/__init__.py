"""pcvr: backdoors in vision language models, and patch cross-view regularisation against them.

    model = pcvr.load("tiny-llava")
    attack = pcvr.get_attack("badnets")
    data = pcvr.poison(pcvr.open_data("scenes"), attack, rate=0.05)
    result = pcvr.finetune(model, data, defense="pcvr")
    print(pcvr.evaluate(result.model, pcvr.open_data("scenes", split="test", n=512), attack))

Everything below is imported when it is first used, so that ``import pcvr`` costs next to nothing. It changes one thing:
where torch is not loaded yet, ``OMP_WAIT_POLICY`` becomes ``PASSIVE`` for this process and those that it starts.
"""

from __future__ import annotations

import os
import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

# By default an OpenMP thread that has nothing to do spins, and takes the core from whoever could use it: beside other
# work a training becomes several times slower (benchmarks/waiting.py). OpenMP reads this once, when torch is loaded.
if "torch" not in sys.modules and not {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME"} & os.environ.keys():
    os.environ["OMP_WAIT_POLICY"] = "PASSIVE"

_WHERE = {
    "PcvrError": "pcvr.errors",
    "Sample": "pcvr.data",
    "Dataset": "pcvr.data",
    "open_data": "pcvr.data",
    "LlavaJson": "pcvr.data",
    "Scenes": "pcvr.data.scenes",
    "ATTACKS": "pcvr.attacks",
    "Attack": "pcvr.attacks",
    "get_attack": "pcvr.attacks",
    "poison": "pcvr.attacks",
    "triggered": "pcvr.attacks",
    "load": "pcvr.models.load",
    "VisionLanguageModel": "pcvr.models.vlm",
    "PatchView": "pcvr.views",
    "DEFENSES": "pcvr.defenses",
    "PCVR": "pcvr.defenses",
    "AugmentOnly": "pcvr.defenses",
    "PlainSFT": "pcvr.defenses",
    "get_defense": "pcvr.defenses",
    "finetune": "pcvr.training",
    "TrainConfig": "pcvr.training",
    "generate": "pcvr.evaluation.generate",
    "evaluate": "pcvr.evaluation.evaluate",
    "Record": "pcvr.evaluation.record",
    "TASKS": "pcvr.tasks",
}

__all__ = ["__version__", *_WHERE]

if TYPE_CHECKING:
    from pcvr.attacks import ATTACKS, Attack, get_attack
    from pcvr.attacks.poison import poison, triggered
    from pcvr.data import Dataset, LlavaJson, Sample, open_data
    from pcvr.data.scenes import Scenes
    from pcvr.defenses import DEFENSES, PCVR, AugmentOnly, PlainSFT, get_defense
    from pcvr.errors import PcvrError
    from pcvr.evaluation.evaluate import evaluate
    from pcvr.evaluation.generate import generate
    from pcvr.evaluation.record import Record
    from pcvr.models.load import load
    from pcvr.models.vlm import VisionLanguageModel
    from pcvr.tasks import TASKS
    from pcvr.training import TrainConfig, finetune
    from pcvr.views import PatchView


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module 'pcvr' has no attribute {name!r}")
    value = getattr(import_module(_WHERE[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_WHERE})
