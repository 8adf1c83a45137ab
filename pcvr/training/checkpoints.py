"""Checkpoints of a training under way: JSON and safetensors, written whole or not at all, and never pickle.

A folder holds `plan.json`, which says whose training it is; one folder ``0-end``, ``1-end`` ... for each stage of the
defence that is over; and the last two checkpoints of the stage under way, such as ``1-00000050``. transformers keeps
optimiser, schedule and random states with `torch.save`, a pickle (it reads them with ``weights_only``, in 5.10 as in
5.23); here they are packed by `pcvr.utils.packing`, with the defence's own state beside them.
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
from pcvr.models.load import LARGE
from pcvr.utils.checks import check_whole
from pcvr.utils.files import new_folder, read_json, write_json
from pcvr.utils.moved import class_now
from pcvr.utils.packing import read_packed, write_packed
from pcvr.utils.places import alone, check_place

if TYPE_CHECKING:
    from pcvr.data.sample import Dataset
    from pcvr.defenses import Defense
    from pcvr.defenses.context import TrainingContext
    from pcvr.models.vlm import VisionLanguageModel
    from pcvr.training.config import TrainConfig

PLAN = "plan.json"
_KEPT = 2


class Checkpoints:
    """The checkpoints of one training in a folder.

    Args:
        folder: where they are; made if it is not there.
        every: optimiser steps between two of a stage.
        plan: what decides the outcome of the training (see `plan_of`), plain values.
        rule: the defence; dataclasses in its state may be those of its package.

    Raises:
        PcvrError: the folder is of another training, or holds something else.
    """

    def __init__(self, folder: str | Path, every: int, plan: Mapping[str, Any], rule: Defense) -> None:
        check_whole("every", every, 1, what="steps")
        self.folder, self.every = Path(folder), every
        self.packages = {"pcvr", type(rule).__module__}
        check_place(folder, own=lambda _: True)
        file = self.folder / PLAN
        if file.is_file():
            _compare(self.folder, file, plan)
            return
        if self.folder.is_dir() and not all(path.name.startswith(".") for path in self.folder.iterdir()):
            raise PcvrError(f"{self.folder} holds no checkpoints but something else: give a new folder.")

    @contextmanager
    def begin(self, plan: Mapping[str, Any]) -> Iterator[None]:
        """Make the folder, clear what a killed process left half written, and keep other processes out of the block.

        For one process of all.

        Raises:
            PcvrError: another training writes there, or the folder cannot be written.
        """
        with alone(self.folder / PLAN, f"the checkpoints in {self.folder}"):
            for scratch in self.folder.glob(".[0-9]*-*"):
                shutil.rmtree(scratch, ignore_errors=True)
            if (self.folder / PLAN).is_file():
                _compare(self.folder, self.folder / PLAN, plan)
            else:
                write_json(self.folder / PLAN, plan)
            yield

    def end(self, stage: int) -> Path | None:
        """Where the end of stage number `stage` is kept; None where it is not over."""
        path = self.folder / f"{stage}-end"
        return path if path.is_dir() else None

    def latest(self, stage: int) -> Path | None:
        """The last checkpoint of stage number `stage`; None where there is none."""
        found = self._under_way(stage)
        return found[-1] if found else None

    def write(self, stage: int, step: int | None, content: Mapping[str, Any], texts: Mapping[str, str]) -> None:
        """Keep a checkpoint, and remove what it makes needless.

        Args:
            stage: number of the stage.
            step: its optimiser steps done; None for its end.
            content: what `read` gives back.
            texts: further files by name.
        """
        target = self.folder / (f"{stage}-end" if step is None else f"{stage}-{step:08d}")
        with new_folder(target, replace=True) as scratch:
            write_packed(scratch, "checkpoint", content)
            for name, text in texts.items():
                (scratch / name).write_text(text, encoding="utf-8")
        for old in self._under_way(stage)[: None if step is None else -_KEPT]:
            shutil.rmtree(old, ignore_errors=True)

    def read(self, path: str | Path, device: str) -> dict[str, Any]:
        """The content of a checkpoint."""
        found: dict[str, Any] = read_packed(Path(path), "checkpoint", self.packages, device)
        return found

    def _under_way(self, stage: int) -> list[Path]:
        return sorted(p for p in self.folder.glob(f"{stage}-*") if p.name.split("-")[1].isdigit())


def plan_of(
    vlm: VisionLanguageModel, data: Dataset, clean: Dataset | None, rule: Defense, config: TrainConfig, world: int
) -> dict[str, Any]:
    """What decides the outcome of a training, as plain values: the same plan goes on where it was, another may not."""
    told = {
        "model": {"name": vlm.name, "weights": _weights_sum(vlm)},
        "data": _data_facts(data),
        "clean": None if clean is None else _data_facts(clean),
        "defense": {"name": rule.name, "class": f"{type(rule).__module__}.{type(rule).__qualname__}", **asdict(rule)},
        "config": asdict(config),
        "processes": world,
    }
    plain: dict[str, Any] = json.loads(json.dumps(told, default=_named))
    return plain


def _named(value: Any) -> str:
    """A value that JSON does not know, by name: the address in its own text would be another each time."""
    return getattr(value, "__qualname__", None) or f"{type(value).__module__}.{type(value).__qualname__}"


def _data_facts(data: Dataset) -> dict[str, Any]:
    return {"name": data.name, "samples": len(data), "fingerprint": data.fingerprint()}


def _weights_sum(vlm: VisionLanguageModel) -> str:
    """A checksum of the base model's weights, of large ones of names and shapes only: reading all takes too long."""
    large = sum(p.numel() for p in vlm.model.parameters()) > LARGE
    total = 0
    for name, weights in vlm.model.state_dict().items():
        total = zlib.crc32(f"{name} {tuple(weights.shape)} {weights.dtype}".encode(), total)
        if not large:
            flat = weights.detach().cpu().reshape(-1).contiguous()
            total = zlib.crc32(flat.view(torch.uint8).numpy().tobytes(), total)
    return f"{total:08x}"


def _compare(folder: Path, file: Path, plan: Mapping[str, Any]) -> None:
    try:
        found = read_json(file, "the plan")
    except PcvrError as problem:
        raise PcvrError(f"{str(problem).rstrip('.')}, or give a new folder, or remove this one.") from problem
    if isinstance(defense := found.get("defense"), dict) and "class" in defense:
        defense["class"] = class_now(str(defense["class"]))
    if differences := _differences(found, plan):
        raise PcvrError(
            f"the checkpoints in {folder} are of another training ({'; '.join(differences[:3])}): "
            "give another folder, or remove it to begin afresh."
        )


def _differences(found: Any, asked: Any, where: str = "") -> list[str]:
    if isinstance(found, Mapping) and isinstance(asked, Mapping):
        names = [*asked, *(n for n in found if n not in asked)]
        return [d for n in names for d in _differences(found.get(n), asked.get(n), f"{where}.{n}" if where else n)]
    return [] if found == asked else [f"{where} was {shown(found)}, is {shown(asked)}"]


def random_states(run: TrainingContext) -> dict[str, Tensor]:
    """The states of the random generators that a training draws from, a row for each process: ``[world, n]`` each.

    Those of `random` and NumPy's own one are not among them: nothing here draws from them.
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


def restore(run: TrainingContext, found: dict[str, Any], path: Path) -> None:
    """Weights and the defence's state as they were in a checkpoint.

    Raises:
        PcvrError: it is of another stage.
    """
    if (found["stage"], found["steps"]) != (run.stage, run.steps):
        raise PcvrError(
            f"the checkpoint {path} is of stage {found['stage']!r} with {found['steps']} steps, and the defence is "
            f"at {run.stage!r} with {run.steps}: its code has changed, remove the folder to begin afresh."
        )
    put_back(run, found["weights"])
    run.step = found["step"]
    for mine, kept in ((run.state, found["state"]), (run.log, found["log"])):
        mine.clear()
        mine.update(kept)


def put_back(run: TrainingContext, weights: dict[str, Tensor]) -> None:
    """Copy `weights` into the model's parameters of the same names."""
    with torch.no_grad():
        for name, parameter in run.vlm.model.named_parameters():
            if name in weights:
                parameter.copy_(weights[name])
