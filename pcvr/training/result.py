"""What a training gives back: the model, how it came about, and the record beside a saved adapter."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pcvr.errors import PcvrError
from pcvr.utils.versions import versions

if TYPE_CHECKING:
    from pcvr.data.sample import Dataset
    from pcvr.defenses import Defense
    from pcvr.defenses.context import TrainingContext
    from pcvr.models.vlm import VisionLanguageModel
    from pcvr.training.config import TrainConfig

RECORD = "record.json"
GUARD = "guard"
"""Name of the files with what a defence that works at test time has to know then."""


@dataclass
class FinetuneResult:
    """A fine-tuned model and how it came about.

    Attributes:
        model: the model with its adapter on, ready to answer.
        defense: the defence that supplied the loss.
        config: the training config, with steps and learning rate as they were taken.
        history: one dict every ten steps, or every step of a run of fewer: ``step``, ``loss``, the defence's figures.
        seconds: wall time of encoding and training, in this call.
        run: the defence's last state (gates, scores) and the encoded data.
        stopped: whether the reader ended it before its time (`pcvr.training.live.Recorder.stop`).
    """

    model: VisionLanguageModel
    defense: Defense
    config: TrainConfig
    history: list[dict[str, float]]
    seconds: float
    run: TrainingContext
    stopped: bool = False

    @property
    def cut(self) -> int:
        """How many answers, of the samples read, were cut to the model's context."""
        return len(self.run.data.cut)

    @property
    def notes(self) -> tuple[str, ...]:
        """What the defence is not sure of, and what was cut, one sentence each; empty where there is nothing to say."""
        cut = f"{self.cut} answers are longer than the model's context and were cut there"
        return (*self.defense.notes(self.run), *([cut] if self.cut else []))

    def __str__(self) -> str:
        """``pcvr: 400 steps in 51 s, last loss 0.412``, and each note on a line of its own."""
        told = f"{self.defense.name}: {self.seconds:.0f} s"
        if self.history:  # nothing was logged where it was stopped early
            last = self.history[-1]
            told = f"{self.defense.name}: {last['step']} steps in {self.seconds:.0f} s, last loss {last['loss']:.3f}"
        return "\n".join([told, *(f"note: {note}" for note in self.notes)])

    def save(self, folder: str | Path, record: Mapping[str, Any] | None = None, *, rescue: bool = False) -> Path:
        """Write the adapter to `folder` (plain peft opens it), whole or not at all.

        Args:
            folder: must not be there yet.
            record: from `training_record`; goes beside the adapter as ``record.json``, together with
                what a defence that works at test time has to know then.
            rescue: where `folder` cannot be written, write to a new folder here or among the temporary files; the error
                says where.

        Raises:
            PcvrError: `folder` exists or cannot be written.
        """
        return save_result(self, folder, record, rescue)


def training_record(result: FinetuneResult, command: str | None = None) -> dict[str, Any]:
    """Everything that decided a training, and how long it took.

    Args:
        result: what `pcvr.finetune` gave.
        command: the command line, where there was one.

    Returns:
        ``model``, ``defense`` (name and options), ``config``, ``seed``, ``data`` and ``clean`` (name, task, samples,
        fingerprint, and what the manifest says where they are poisoned), ``device``, ``processes``, ``seconds``,
        ``stopped``, ``cut`` (answers cut to the context), ``notes`` (what the defence is not sure of), ``history``,
        ``versions``, ``date`` and ``command``.
    """
    run, rule = result.run, result.defense
    return {
        "model": run.vlm.name,
        "defense": {"name": rule.name, "options": asdict(rule)},
        "config": asdict(result.config),
        "seed": result.config.seed,
        "data": data_facts(run.data.data),
        "clean": None if run.clean is None else data_facts(run.clean.data),
        "device": str(run.vlm.device),
        "dtype": str(run.vlm.base.dtype).removeprefix("torch."),
        "processes": run.world,
        "seconds": round(result.seconds, 2),
        "stopped": result.stopped,
        "cut": result.cut,
        "notes": list(result.notes),
        "history": result.history,
        "versions": versions(),
        "date": datetime.now(UTC).date().isoformat(),
        "command": command,
    }


def data_facts(data: Dataset) -> dict[str, Any]:
    """What data are called and how they can be told again; of poisoned ones what the manifest says but the rows."""
    facts: dict[str, Any] = {
        "name": data.name,
        "task": data.task,
        "samples": len(data),
        "fingerprint": data.fingerprint(),
    }
    manifest = getattr(data, "manifest", None)
    if manifest is not None:
        facts["manifest"] = {k: v for k, v in manifest.plain().items() if k not in ("indices", "covers", "before")}
        facts["manifest"]["covers"] = {name: len(rows) for name, rows in manifest.covers.items()}
    return facts


def save_result(
    result: FinetuneResult, folder: str | Path, record: Mapping[str, Any] | None, rescue: bool = False
) -> Path:
    """Write an adapter with its record, and with what its defence needs at test time, whole or not at all.

    Without a record it is the adapter alone. All processes call this, the first one writes; arguments and errors as
    `FinetuneResult.save`.
    """
    from pcvr.utils import distributed
    from pcvr.utils.files import new_folder, write_json
    from pcvr.utils.packing import write_packed
    from pcvr.utils.places import rescued

    folder, whole = Path(folder), distributed.whole_weights(result.model.model)

    def write(place: Path) -> None:
        if record is None:
            result.model.save_adapter(place, whole)
            return
        with new_folder(place) as scratch:
            inner = result.model.save_adapter(scratch / "adapter", whole)
            for file in inner.iterdir():
                file.rename(scratch / file.name)
            inner.rmdir()
            if works_at_test_time(result.defense):
                write_packed(scratch, GUARD, result.run.state)
            write_json(scratch / RECORD, record)

    if distributed.rank() == 0:
        rescued(folder, write) if rescue else write(folder)
    distributed.wait()
    return folder


def works_at_test_time(rule: Defense) -> bool:
    """Whether a defence has its own way to answer."""
    from pcvr.defenses import Defense

    return type(rule).answer is not Defense.answer


def guard_of(folder: str | Path) -> tuple[Defense | None, Mapping[str, Any] | None]:
    """The defence that guards an adapter at test time with what it knows; ``(None, None)`` where none does.

    Raises:
        PcvrError: the record beside the adapter cannot be read.
    """
    from pcvr.defenses import build_defense
    from pcvr.utils.files import as_path, read_json
    from pcvr.utils.packing import read_packed

    folder = as_path(folder, "adapter")
    if not (folder / f"{GUARD}.json").is_file():
        return None, None
    told = read_json(folder / RECORD, "the record").get("defense")
    if not isinstance(told, dict) or not isinstance(told.get("options"), dict):
        raise PcvrError(f"{folder / RECORD} names no defence: it goes with the files {GUARD}.*, so train again.")
    state = read_packed(folder, GUARD)
    if not isinstance(state, dict):
        raise PcvrError(f"{folder / GUARD}.json holds a {type(state).__name__}: it is damaged, so train again.")
    return build_defense(str(told.get("name")), told["options"]), state
