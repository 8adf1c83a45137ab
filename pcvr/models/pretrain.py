"""Make an embedded checkpoint from nothing: ``pcvr pretrain tiny-llava``.

Four things matter later: the target's words are live, because the text uses every word; the tower
encodes more than the drawn objects, because a throw-away linear layer must rebuild each patch's pixels from its token;
another must name what lies under each patch, without which seeing starts much later; and pixels and overlays must be
read off the connector's tokens too, or the language model never gets to see a trigger.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import Trainer, TrainerCallback, TrainingArguments

from pcvr.data.scenes import COLORS, KINDS
from pcvr.files import write_json
from pcvr.models.corrupt import OVERLAYS
from pcvr.models.lessons import LessonCollator, Lessons


@dataclass(frozen=True)
class PretrainConfig:
    """How an embedded checkpoint is made; the defaults made the shipped ones."""

    steps: int = field(default=6_000, metadata={"help": "optimiser steps, over which the cosine schedule is laid out"})
    batch_size: int = field(default=64, metadata={"help": "pictures a step"})
    learning_rate: float = field(default=1.5e-3, metadata={"help": "peak learning rate"})
    pictures: int = field(default=24_000, metadata={"help": "distinct scenes, drawn once and corrupted anew each time"})
    corrupted: float = field(default=0.6, metadata={"help": "share of the pictures that something is laid over"})
    ask_overlays: float = field(default=0.4, metadata={"help": "share of the pictures of which is asked what that is"})
    rebuild_weight: float = field(default=0.5, metadata={"help": "weight of the patch reconstruction loss"})
    naming_weight: float = field(default=10.0, metadata={"help": "weight of naming kinds and colours under each patch"})
    overlay_weight: float = field(default=5.0, metadata={"help": "weight of naming what is laid over each patch"})
    turns: int = field(default=3, metadata={"help": "prompt-answer turns a picture"})
    seed: int = field(default=0, metadata={"help": "seed of weights, scenes and order"})

    def shortened(self, steps: int) -> PretrainConfig:
        """The same recipe with a schedule of `steps`, for trying it out."""
        return replace(self, steps=steps, pictures=min(self.pictures, max(256, steps * self.batch_size)))


class PretrainTrainer(Trainer):
    """Answer loss, plus pixels, names and overlays of each patch read off the tower's tokens."""

    def __init__(self, *, lessons: Lessons, tower: nn.Module, connector: nn.Module, patch: int, **kwargs: Any) -> None:
        super().__init__(train_dataset=lessons, **kwargs)
        self.lessons, self.patch, self.recipe = lessons, patch, lessons.config
        self._tokens: torch.Tensor | None = None
        self._joined: torch.Tensor | None = None
        self._parts: dict[str, float] = {}
        self.hooks = [tower.register_forward_hook(self._keep), connector.register_forward_hook(self._keep_joined)]

    def _keep(self, _module: nn.Module, _args: Any, output: Any) -> None:
        self._tokens = output.last_hidden_state

    def _keep_joined(self, _module: nn.Module, _args: Any, output: Any) -> None:
        self._joined = output

    def compute_loss(self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, **_: Any) -> torch.Tensor:
        under, over = inputs.pop("under"), inputs.pop("over")
        with torch.autocast(under.device.type, torch.bfloat16):
            told = model.wrapped(**inputs).loss
            grid = nn.functional.unfold(inputs["pixel_values"], self.patch, stride=self.patch).transpose(1, 2)
            assert self._tokens is not None  # the hook has run
            tokens = self._tokens[:, -grid.shape[1] :]  # [B, P, D], the class token left out
            rebuilt = nn.functional.mse_loss(model.rebuild(tokens).float(), grid)
            named = nn.functional.binary_cross_entropy_with_logits(model.naming(tokens).float(), under)
            spotted = nn.functional.binary_cross_entropy_with_logits(model.overlays(tokens).float(), over)
            assert self._joined is not None
            through = nn.functional.mse_loss(model.rebuild_through(self._joined).float(), grid)
            passed = nn.functional.binary_cross_entropy_with_logits(model.overlays_through(self._joined).float(), over)
            recipe = self.recipe
            loss = told + recipe.naming_weight * named + recipe.overlay_weight * (spotted + passed)
            loss = loss + recipe.rebuild_weight * rebuilt + through
        self._parts = {
            "answers": told.item(),
            "pixels": rebuilt.item(),
            "names": named.item(),
            "overlays": spotted.item(),
            "through": passed.item(),
        }
        return loss

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        super().log(logs | {k: round(v, 4) for k, v in self._parts.items()}, start_time)


class WithHeads(nn.Module):
    """The model and the linear layers that are thrown away."""

    def __init__(self, wrapped: nn.Module, width: int, joined: int, patch: int) -> None:
        super().__init__()
        self.wrapped = wrapped
        self.rebuild = nn.Linear(width, 3 * patch * patch)
        self.naming = nn.Linear(width, len(KINDS) + len(COLORS))
        self.overlays = nn.Linear(width, len(OVERLAYS))
        self.rebuild_through = nn.Linear(joined, 3 * patch * patch)
        self.overlays_through = nn.Linear(joined, len(OVERLAYS))

    def forward(self, **inputs: torch.Tensor) -> Any:
        return self.wrapped(**inputs)


class _Clock(TrainerCallback):
    """Counts the seconds of training over interruptions, and ends the training early where it is told to."""

    def __init__(self, file: Path, stop: int | None) -> None:
        self.file, self.stop = file, stop
        self.before: float = json.loads(file.read_text(encoding="utf-8"))["seconds"] if file.is_file() else 0.0

    @property
    def seconds(self) -> float:
        return self.before + time.perf_counter() - self.began

    def on_train_begin(self, *_: Any, **__: Any) -> None:
        self.began = time.perf_counter()

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        control.should_training_stop |= state.global_step == self.stop

    def on_save(self, *_: Any, **__: Any) -> None:
        write_json(self.file, {"seconds": round(self.seconds, 1)})


def pretrain(
    name: str,
    out: str | Path,
    config: PretrainConfig | None = None,
    work: str | Path = "runs/pretrain",
    stop: int | None = None,
) -> Mapping[str, Any]:
    """Pretrain the embedded model `name` and save it in folder `out`; resumes from `work` after an interruption.

    Args:
        name: which model.
        out: folder of the new checkpoint; replaced where there is one.
        config: the recipe.
        work: folder for the trainer's own checkpoints.
        stop: end after so many steps of the schedule, to compare the beginning with another run's.

    Returns:
        The record that is also written to the checkpoint's ``training.json``: config, seconds, versions, losses.
    """
    from transformers.trainer_utils import get_last_checkpoint

    from pcvr.models.checkpoint import save_checkpoint
    from pcvr.models.families import family_of
    from pcvr.models.zoo import embedded

    config = config or PretrainConfig()
    entry = embedded(name)
    torch.manual_seed(config.seed)
    processor = entry.build_processor()
    model = WithHeads(entry.build_model(processor), entry.width, entry.joined, entry.patch)
    lessons = Lessons(config, entry.image_px // entry.patch)
    # Another recipe must never go on from this one's weights, so the folder is named by it.
    recipe = hashlib.sha256(json.dumps(asdict(config), sort_keys=True).encode()).hexdigest()[:8]
    folder = Path(work) / f"{name}-{recipe}"
    family = family_of(model.wrapped)
    trainer = PretrainTrainer(
        model=model,
        args=_arguments(config, folder),
        data_collator=LessonCollator(lessons, processor, entry.image_tokens),
        lessons=lessons,
        tower=family.part(model.wrapped, "tower"),
        connector=family.part(model.wrapped, "connector"),
        patch=entry.patch,
    )
    clock = _Clock(folder / "history.json", stop)
    trainer.add_callback(clock)
    trainer.train(resume_from_checkpoint=get_last_checkpoint(str(folder)) if folder.is_dir() else None)
    for hook in trainer.hooks:
        hook.remove()
    losses = [(h["step"], h["answers"]) for h in trainer.state.log_history if "answers" in h]
    return save_checkpoint(
        model.wrapped, processor, out, name=name, config=config, seconds=clock.seconds, losses=losses
    )


def _arguments(config: PretrainConfig, folder: Path) -> TrainingArguments:
    return TrainingArguments(
        output_dir=str(folder),
        max_steps=config.steps,
        per_device_train_batch_size=config.batch_size,
        learning_rate=config.learning_rate,
        lr_scheduler_type="cosine",
        warmup_steps=max(1, config.steps // 15),
        weight_decay=0.01,
        max_grad_norm=1.0,
        save_steps=250,
        save_total_limit=1,
        logging_steps=25,
        report_to="none",
        remove_unused_columns=False,
        label_names=["labels"],
        seed=config.seed,
        use_cpu=not torch.cuda.is_available(),
        dataloader_pin_memory=False,
    )
