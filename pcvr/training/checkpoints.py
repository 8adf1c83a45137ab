"""Checkpoints of a training: JSON and safetensors, each written completely or not at all, and never pickle.

A folder holds `plan.json`, which identifies the training; a folder ``0-end``, ``1-end`` ... for each finished stage;
and the last two checkpoints of the current stage, such as ``1-00000050``. transformers saves optimiser, schedule and
random states with `torch.save`, a pickle (it reads them with ``weights_only``, in 5.10 as in 5.23); here
`pcvr.utils.packing` packs them, together with the defence's state.
"""

from __future__ import annotations

import json
import shutil
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from pcvr.errors import PcvrError, shown
from pcvr.models.load import is_large
from pcvr.training.config import TrainConfig
from pcvr.utils import distributed
from pcvr.utils.checks import check_whole
from pcvr.utils.files import new_folder, read_json, write_json
from pcvr.utils.moved import class_now
from pcvr.utils.packing import read_packed, write_packed
from pcvr.utils.places import alone, check_place
from pcvr.utils.renamed import current_names

if TYPE_CHECKING:
    from pcvr.data.sample import Dataset
    from pcvr.defenses import Defense
    from pcvr.defenses.context import TrainingContext
    from pcvr.models.vlm import VisionLanguageModel

PLAN = "plan.json"
_MOST = 2
"""Checkpoints kept of the current stage."""


class Checkpoints:
    """The checkpoints of one training in a folder.

    Args:
        folder: where they lie; made if it is missing.
        save_steps: optimiser steps between two checkpoints of a stage.
        plan: what decides the outcome of the training (see `plan_of`), plain values.
        defense: dataclasses in its state may be those of its package.

    Raises:
        PcvrError: the folder belongs to another training, or holds something else.
    """

    def __init__(self, folder: str | Path, save_steps: int, plan: Mapping[str, Any], defense: Defense) -> None:
        check_whole("save_steps", save_steps, 1, what="steps")
        self.folder, self.save_steps, self.plan = Path(folder), save_steps, plan
        self.kind = type(defense)
        self.packages = {"pcvr", self.kind.__module__}
        check_place(folder, own=lambda _: True)
        if (self.folder / PLAN).is_file():
            self._check_plan()
        elif self.folder.is_dir() and not all(path.name.startswith(".") for path in self.folder.iterdir()):
            raise PcvrError(f"{self.folder} holds no checkpoints but something else: give a new folder.")

    @contextmanager
    def begin(self) -> Iterator[None]:
        """Make the folder, remove what a killed process left unfinished, and keep other processes out of the block.

        Only the first of several processes enters it.

        Raises:
            PcvrError: another training writes there, or the folder cannot be written.
        """
        with alone(self.folder / PLAN, f"the checkpoints in {self.folder}"):
            for scratch in self.folder.glob(".[0-9]*-*"):
                shutil.rmtree(scratch, ignore_errors=True)
            if (self.folder / PLAN).is_file():
                self._check_plan()
            else:
                write_json(self.folder / PLAN, self.plan)
            yield

    def _check_plan(self) -> None:
        """Raise where the folder's plan is not this training's."""
        try:
            found = read_json(self.folder / PLAN, "the plan")
        except PcvrError as problem:
            raise PcvrError(f"{str(problem).rstrip('.')}, or give a new folder, or remove this one.") from problem
        if differences := _differences(plan_now(found, self.kind), self.plan):
            raise PcvrError(
                f"the checkpoints in {self.folder} are of another training ({'; '.join(differences[:3])}): "
                "give another folder, or remove it to begin afresh."
            )

    def end(self, stage: int) -> Path | None:
        """The checkpoint of the end of stage number `stage`; None where the stage is not finished."""
        path = self.folder / f"{stage}-end"
        return path if path.is_dir() else None

    def latest(self, stage: int) -> Path | None:
        """The last checkpoint within stage number `stage`; None where there is none."""
        found = self._within(stage)
        return found[-1] if found else None

    def write(self, stage: int, step: int | None, content: Mapping[str, Any], texts: Mapping[str, str]) -> None:
        """Write a checkpoint, and remove those that it replaces.

        Args:
            stage: number of the stage.
            step: optimiser steps of the stage done; None for its end.
            content: what `read` returns.
            texts: further files by name.
        """
        target = self.folder / (f"{stage}-end" if step is None else f"{stage}-{step:08d}")
        with new_folder(target, replace=True) as scratch:
            write_packed(scratch, "checkpoint", content)
            for name, text in texts.items():
                (scratch / name).write_text(text, encoding="utf-8")
        for old in self._within(stage)[: None if step is None else -_MOST]:
            shutil.rmtree(old, ignore_errors=True)

    def read(self, path: str | Path, device: str) -> dict[str, Any]:
        """The content of a checkpoint."""
        found: dict[str, Any] = read_packed(Path(path), "checkpoint", self.packages, device)
        return found

    def _within(self, stage: int) -> list[Path]:
        return sorted(p for p in self.folder.glob(f"{stage}-*") if p.name.split("-")[1].isdigit())


def plan_of(
    vlm: VisionLanguageModel, data: Dataset, clean: Dataset | None, defense: Defense, config: TrainConfig
) -> dict[str, Any]:
    """What decides the outcome of a training, as plain values: only a training with the same plan resumes."""
    kind = type(defense)
    plan = {
        "model": {"name": vlm.name, "weights": _weights_sum(vlm)},
        "data": _data_facts(data),
        "clean": None if clean is None else _data_facts(clean),
        "defense": {"name": defense.name, "class": f"{kind.__module__}.{kind.__qualname__}", **asdict(defense)},
        "config": asdict(config),
        "processes": distributed.world(),
    }
    plain: dict[str, Any] = json.loads(json.dumps(plan, default=_named))
    return plain


def _named(value: Any) -> str:
    """The name of a value that JSON does not know: its own text may hold an address, which changes."""
    return getattr(value, "__qualname__", None) or f"{type(value).__module__}.{type(value).__qualname__}"


def _data_facts(data: Dataset) -> dict[str, Any]:
    return {"name": data.name, "samples": len(data), "fingerprint": data.fingerprint()}


def _weights_sum(vlm: VisionLanguageModel) -> str:
    """A checksum of the base model's weights; of a large model's names and shapes only, since reading takes long."""
    large = is_large(vlm)
    total = 0
    for name, weights in vlm.model.state_dict().items():
        total = zlib.crc32(f"{name} {tuple(weights.shape)} {weights.dtype}".encode(), total)
        if not large:
            flat = weights.detach().cpu().reshape(-1).contiguous()
            total = zlib.crc32(flat.view(torch.uint8).numpy().tobytes(), total)
    return f"{total:08x}"


def plan_now(plan: Any, kind: type[Defense]) -> Any:
    """A plan from a file with the names that its entries have now, the options of the defence those of `kind`."""
    defense, config = plan.get("defense"), plan.get("config")
    if isinstance(config, dict):
        plan["config"] = {**TrainConfig.ADDED, **current_names(TrainConfig, config)}
    if isinstance(defense, dict) and "class" in defense:
        options = {**kind.ADDED, **current_names(kind, defense)}
        plan["defense"] = options | {"class": class_now(str(defense["class"]))}
    return plan


def _differences(found: Any, asked: Any, where: str = "") -> list[str]:
    if isinstance(found, Mapping) and isinstance(asked, Mapping):
        names = [*asked, *(n for n in found if n not in asked)]
        return [d for n in names for d in _differences(found.get(n), asked.get(n), f"{where}.{n}" if where else n)]
    return [] if found == asked else [f"{where} was {shown(found)}, is {shown(asked)}"]


def random_states(run: TrainingContext) -> dict[str, Tensor]:
    """The states of the random generators that a training draws from, ``[world, n]`` each: a row for each process.

    Those of `random` and NumPy are left out: nothing here draws from them.
    """
    states = {"torch": torch.get_rng_state(), "views": run.generator.get_state()}
    if run.vlm.device.type == "cuda":
        states["cuda"] = torch.cuda.get_rng_state(run.vlm.device)
    return {name: run.gather(state[None]) for name, state in states.items()}


def set_random_states(run: TrainingContext, states: Mapping[str, Tensor]) -> None:
    """Put the generators back to `states`, each process to its own row."""
    torch.set_rng_state(states["torch"][run.rank])
    run.generator.set_state(states["views"][run.rank])
    if "cuda" in states and run.vlm.device.type == "cuda":
        torch.cuda.set_rng_state(states["cuda"][run.rank].cpu(), run.vlm.device)


def restore(run: TrainingContext, content: Mapping[str, Any], path: Path) -> None:
    """Put weights and the defence's state back to what a checkpoint holds.

    Raises:
        PcvrError: the checkpoint is of another stage.
    """
    if (content["stage"], content["steps"]) != (run.stage, run.steps):
        raise PcvrError(
            f"the checkpoint {path} is of stage {content['stage']!r} with {content['steps']} steps, and the defence is "
            f"at {run.stage!r} with {run.steps}: its code has changed, remove the folder to begin afresh."
        )
    put_back(run, content["weights"])
    run.step = content["step"]
    for own, saved in ((run.state, content["state"]), (run.log, content["log"])):
        own.clear()
        own.update(saved)


def put_back(run: TrainingContext, weights: Mapping[str, Tensor]) -> None:
    """Copy `weights` into the model's parameters of the same names."""
    with torch.no_grad():
        for name, parameter in run.vlm.model.named_parameters():
            if name in weights:
                parameter.copy_(weights[name])
