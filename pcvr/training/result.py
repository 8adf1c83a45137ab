"""The result of a training: the model, its history, and the record beside a saved adapter."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pcvr.defenses.load import RECORD, read_guard
from pcvr.utils.versions import versions

if TYPE_CHECKING:
    from pcvr.data.sample import Dataset
    from pcvr.defenses import Defense
    from pcvr.defenses.context import TrainingContext
    from pcvr.models.vlm import VisionLanguageModel
    from pcvr.training.config import TrainConfig


@dataclass
class FinetuneResult:
    """A fine-tuned model and its training.

    Attributes:
        model: the model with its adapter, in eval mode; a test-time defence is its `guard`.
        defense: the defence that supplied the loss.
        config: the training config, with the steps and the learning rate that were used.
        history: one dict every ten steps, or every step in a run of fewer than ten: ``step``, ``loss``, the defence's
            figures.
        seconds: wall time of encoding and training, in this call; with that of a plain start which it took.
        run: the defence's last state (gates, scores) and the encoded data.
        stopped: whether the reader stopped it early (`pcvr.training.live.Recorder.stop`).
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
        """Number of answers, of the samples read, that were cut to the model's context."""
        return len(self.run.data.cut)

    @property
    def notes(self) -> tuple[str, ...]:
        """One sentence for each uncertainty of the defence, and for answers that were cut."""
        cut = f"{self.cut} answers are longer than the model's context and were cut there"
        return (*self.defense.notes(self.run), *([cut] if self.cut else []))

    def __str__(self) -> str:
        """Return ``pcvr: 400 steps in 51 s, last loss 0.412``, and each note on its own line."""
        summary = f"{self.defense.name}: {self.seconds:.0f} s"
        if self.history:  # empty where the training was stopped before the first log
            last = self.history[-1]
            summary = f"{self.defense.name}: {last['step']} steps in {self.seconds:.0f} s, last loss {last['loss']:.3f}"
        return "\n".join([summary, *(f"note: {note}" for note in self.notes)])

    def save(self, folder: str | Path, record: Mapping[str, Any] | None = None, *, rescue: bool = False) -> Path:
        """Write the adapter with its guard and model card to `folder`, completely or not at all.

        `pcvr.load` opens it with the guard; plain peft opens it without, and the card says so.

        Args:
            folder: must not exist yet.
            record: from `training_record`; goes beside the adapter as ``record.json``.
            rescue: where `folder` cannot be written, write to a new folder here or among the temporary files; the error
                says where.

        Raises:
            PcvrError: `folder` exists or cannot be written.
        """
        return save_result(self, folder, record, rescue)


def training_record(result: FinetuneResult, command: str | None = None) -> dict[str, Any]:
    """Return everything that decided a training, and how long it took.

    Args:
        result: of `pcvr.finetune`.
        command: the command line, where there was one.

    Returns:
        ``model``, ``defense`` (name and options), ``config``, ``seed``, ``data`` and ``clean`` (name, task, samples,
        fingerprint; of poisoned data the manifest), ``device``, ``processes``, ``seconds``,
        ``stopped``, ``cut`` (answers cut to the context), ``notes`` (uncertainties of the defence), ``history``,
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
    """Return name and fingerprint of data; of poisoned data the manifest without its rows."""
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
    """Write an adapter with its guard, card and record, completely or not at all.

    All processes call this, and the first one writes; arguments and errors as `FinetuneResult.save`.
    """
    from pcvr.utils import distributed
    from pcvr.utils.files import new_folder, write_json
    from pcvr.utils.places import rescued

    folder, whole = Path(folder), distributed.whole_weights(result.model.model)

    def write(place: Path) -> None:
        with new_folder(place) as scratch:
            inner = result.model.save_adapter(scratch / "adapter", whole, _about(result))
            for file in inner.iterdir():
                file.rename(scratch / file.name)
            inner.rmdir()
            if record is not None:
                write_json(scratch / RECORD, record)

    if distributed.rank() == 0:
        rescued(folder, write) if rescue else write(folder)
    distributed.wait()
    return folder


def _about(result: FinetuneResult) -> list[str]:
    """Say for the model card how the adapter was made."""
    rule, data = result.defense, result.run.data.data
    steps, samples = result.config.max_steps, f"{len(data)} samples ({data.name})"
    about = [f"Fine-tuned for {steps} steps on {samples}, defence `{rule.name}`."]
    if (manifest := getattr(data, "manifest", None)) is not None:
        names = ", ".join(one.attack["name"] for one in manifest.chain())
        about.append(f"The training data are poisoned on purpose ({names}): use it for research and teaching only.")
    return about


def guard_of(folder: str | Path) -> tuple[Any, Mapping[str, Any] | None]:
    """Return rule and state of the guard beside an adapter, ``(None, None)`` for none; `pcvr.load` puts it on itself.

    Raises:
        PcvrError: as `pcvr.defenses.load.read_guard`.
    """
    guard = read_guard(folder)
    return (None, None) if guard is None else (guard.rule, guard.state)
