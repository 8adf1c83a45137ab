"""pcvr: backdoors in vision language models, and patch cross-view regularisation against them.

    model = pcvr.load("tiny-llava")
    attack = pcvr.get_attack("badnets")
    data = pcvr.poison(pcvr.open_data("scenes"), attack, rate=0.05)
    result = pcvr.finetune(model, data, defense="pcvr")
    print(pcvr.evaluate(result.model, pcvr.open_data("scenes", split="test", n=512), attack))

The public names are those in ``pcvr.__all__``, which stand below by theme, and the submodules that CONTRIBUTING.md
lists under "Public submodules". Everything else is private and may change.

Names are imported when they are first used, so that ``import pcvr`` costs little. It changes one thing: where torch is
not loaded yet, ``OMP_WAIT_POLICY`` becomes ``PASSIVE`` for this process and those that it starts.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from pcvr.utils.lazy import lazy_imports

__version__ = "0.1.0"

# By default an OpenMP thread that has nothing to do spins, and takes the core from whoever could use it: beside other
# work a training becomes several times slower (benchmarks/waiting.py). OpenMP reads this once, when torch is loaded.
if "torch" not in sys.modules and not {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME"} & os.environ.keys():
    os.environ["OMP_WAIT_POLICY"] = "PASSIVE"

if TYPE_CHECKING:
    # Errors
    from pcvr.errors import PcvrError

    # Models
    from pcvr.defenses.load import load
    from pcvr.models.vlm import VisionLanguageModel

    # Data and tasks
    from pcvr.data import Dataset, LlavaJson, Sample, open_data
    from pcvr.data.scenes import Scenes
    from pcvr.tasks import TASKS, Task, register_task

    # Attacks and poisoned data
    from pcvr.attacks import (
        ATTACKS,
        Attack,
        Trigger,
        get_attack,
        load_poisoned,
        poison,
        register_attack,
        save_poisoned,
        triggered,
    )

    # Views and defences
    from pcvr.defenses import (
        DEFENSES,
        PCVR,
        AugmentOnly,
        Defense,
        PlainSFT,
        get_defense,
        register_defense,
    )
    from pcvr.views import PatchView

    # Training
    from pcvr.training import FinetuneResult, TrainConfig, finetune

    # Inside trainers and loops of your own
    from pcvr.defenses.pcvr.config import PCVRConfig
    from pcvr.training.mixin import PCVRMixin
    from pcvr.training.regularizer import PCVRRegularizer
    from pcvr.training.scan import ScanReport, scan

    # Audits of data
    from pcvr.auditing.audit import audit
    from pcvr.auditing.config import AuditConfig
    from pcvr.auditing.outcome import Audit

    # Evaluation
    from pcvr.evaluation.evaluate import evaluate
    from pcvr.evaluation.generate import generate
    from pcvr.evaluation.record import Record

__getattr__, __dir__, _names = lazy_imports(__name__)
__all__ = ["__version__", *_names]
