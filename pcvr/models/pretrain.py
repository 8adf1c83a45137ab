"""Make an embedded checkpoint from nothing: ``pcvr pretrain tiny-llava``.

Three things matter later (all measured): the target's words are live, because the text uses every word; the tower
encodes more than the drawn objects, because a throw-away linear layer must rebuild each patch's pixels from its token;
and another throw-away layer must name what lies under each patch, without which seeing starts much later.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import Trainer, TrainerCallback, TrainingArguments

from pcvr.data.scenes import COLORS, KINDS
from pcvr.files import write_json
from pcvr.models.corrupt import OVERLAYS
from pcvr.models.lessons import LessonCollator, Lessons


@dataclass(frozen=True)
class Stage:
    """One stretch of training with an optimiser and a cosine schedule of its own.

    Attributes:
        name: of the stage, and of the file its weights are kept in.
        steps: optimiser steps.
        schedule: steps the learning rate's schedule is laid out for; it is cut off at `steps`.
        learning_rate: its peak.
        ask_overlays_from: step from which it is asked what was laid over the picture.
        ask_overlays: share of the pictures of which it is asked.
        overlay_weight: weight of naming, patch by patch, what was laid over it.
        through: whether pixels and overlays must be read off the connector's tokens too, not the tower's alone.
    """

    name: str
    steps: int
    schedule: int
    learning_rate: float
    ask_overlays_from: int = 0
    ask_overlays: float = 0.5
    overlay_weight: float = 0.0
    through: bool = False


SEE = Stage("see", 2800, 4000, 1.5e-3, ask_overlays_from=2400)
OVERLAYS_NAMED = Stage("overlays", 700, 1400, 1e-3, overlay_weight=5.0)
THROUGH = Stage("through", 700, 700, 1e-3, ask_overlays=0.8, overlay_weight=5.0, through=True)


@dataclass(frozen=True)
class PretrainConfig:
    """How an embedded checkpoint is made; the defaults made the shipped ones."""

    stages: tuple[Stage, ...] = field(
        default=(SEE, OVERLAYS_NAMED, THROUGH), metadata={"help": "what is learned, in order"}
    )
    batch_size: int = field(default=64, metadata={"help": "pictures a step"})
    pictures: int = field(default=24_000, metadata={"help": "distinct scenes, drawn once and corrupted anew each time"})
    rebuild_weight: float = field(default=0.5, metadata={"help": "weight of the patch reconstruction loss"})
    naming_weight: float = field(default=10.0, metadata={"help": "weight of naming kinds and colours under each patch"})
    turns: int = field(default=3, metadata={"help": "prompt-answer turns a picture"})
    seed: int = field(default=0, metadata={"help": "seed of weights, scenes and order"})

    @property
    def steps(self) -> int:
        """Optimiser steps of all stages."""
        return sum(stage.steps for stage in self.stages)

    def shortened(self, steps: int) -> PretrainConfig:
        """The same recipe cut to about `steps` in all, for trying it out."""
        from dataclasses import replace

        share = steps / self.steps
        cut = tuple(
            replace(
                s,
                steps=max(1, round(s.steps * share)),
                schedule=max(1, round(s.schedule * share)),
                ask_overlays_from=round(s.ask_overlays_from * share),
            )
            for s in self.stages
        )
        return replace(self, stages=cut, pictures=min(self.pictures, max(256, steps * self.batch_size)))


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
        self.lessons.step = self.state.global_step
        with torch.autocast(under.device.type, torch.bfloat16):
            told = model.wrapped(**inputs).loss
            grid = nn.functional.unfold(inputs["pixel_values"], self.patch, stride=self.patch).transpose(1, 2)
            assert self._tokens is not None  # the hook has run
            tokens = self._tokens[:, -grid.shape[1] :]  # [B, P, D], the class token left out
            rebuilt = nn.functional.mse_loss(model.rebuild(tokens).float(), grid)
            named = nn.functional.binary_cross_entropy_with_logits(model.naming(tokens).float(), under)
            loss = told + self.recipe.rebuild_weight * rebuilt + self.recipe.naming_weight * named
            self._parts = {"answers": told.item(), "pixels": rebuilt.item(), "names": named.item()}
            if self.lessons.stage.overlay_weight:
                spotted = nn.functional.binary_cross_entropy_with_logits(model.overlays(tokens).float(), over)
                loss = loss + self.lessons.stage.overlay_weight * spotted
                self._parts["overlays"] = spotted.item()
            if self.lessons.stage.through and self._joined is not None:
                loss = loss + nn.functional.mse_loss(model.rebuild_through(self._joined).float(), grid)
                passed = nn.functional.binary_cross_entropy_with_logits(
                    model.overlays_through(self._joined).float(), over
                )
                loss = loss + self.lessons.stage.overlay_weight * passed
                self._parts["through"] = passed.item()
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
    """Ends a stage at its step, and counts the seconds of training over interruptions."""

    def __init__(self, file: Path, stage: Stage) -> None:
        self.file, self.stage = file, stage
        self.told: dict[str, Any] = {"seconds": 0.0, "losses": []}
        if file.is_file():
            self.told = json.loads(file.read_text(encoding="utf-8"))
        self.before: float = self.told["seconds"]

    def keep(self, losses: list[tuple[int, float]] | None = None) -> None:
        """Write down the seconds so far and, at the end of a stage, its losses."""
        seconds = self.before + time.perf_counter() - self.began
        shown = [[self.stage.name, step, round(loss, 4)] for step, loss in losses or ()]
        self.told = {"seconds": round(seconds, 1), "losses": self.told["losses"] + shown}
        write_json(self.file, self.told)

    def on_train_begin(self, *_: Any, **__: Any) -> None:
        self.began = time.perf_counter()

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        control.should_training_stop |= state.global_step >= self.stage.steps

    def on_save(self, *_: Any, **__: Any) -> None:
        self.keep()


def pretrain(
    name: str, out: str | Path, config: PretrainConfig | None = None, work: str | Path = "runs/pretrain"
) -> Mapping[str, Any]:
    """Pretrain the embedded model `name` and save it in folder `out`; resumes from `work` after an interruption.

    Returns:
        The record that is also written to the checkpoint's ``training.json``: config, seconds, versions, losses.
    """
    from pcvr.models.checkpoint import save_checkpoint
    from pcvr.models.zoo import embedded

    config = config or PretrainConfig()
    entry = embedded(name)
    torch.manual_seed(config.seed)
    processor = entry.build_processor()
    model = WithHeads(entry.build_model(processor), entry.width, entry.joined, entry.patch)
    lessons = Lessons(config, entry.image_px // entry.patch)
    collator = LessonCollator(lessons, processor, entry.image_tokens)
    folder = Path(work) / name
    for stage in config.stages:
        lessons.begin(stage)
        _teach(model, lessons, collator, stage, folder, entry.patch)
    history = json.loads((folder / "history.json").read_text(encoding="utf-8"))
    return save_checkpoint(model.wrapped, processor, out, name=name, config=config, **history)


def _teach(
    model: WithHeads, lessons: Lessons, collator: LessonCollator, stage: Stage, folder: Path, patch: int
) -> None:
    """Train one stage, or take its weights from `folder` where it is done already."""
    from transformers.trainer_utils import get_last_checkpoint

    from pcvr.models.families import family_of

    done = folder / f"{stage.name}.safetensors"
    if done.is_file():
        model.load_state_dict(load_file(done), strict=False)
        return
    config = lessons.config
    arguments = TrainingArguments(
        output_dir=str(folder / stage.name),
        max_steps=stage.schedule,
        per_device_train_batch_size=config.batch_size,
        learning_rate=stage.learning_rate,
        lr_scheduler_type="cosine",
        warmup_steps=max(1, stage.schedule // 15),
        weight_decay=0.01,
        max_grad_norm=1.0,
        save_steps=350,
        save_total_limit=1,
        logging_steps=25,
        report_to="none",
        remove_unused_columns=False,
        label_names=["labels"],
        seed=config.seed,
        use_cpu=not torch.cuda.is_available(),
        dataloader_pin_memory=False,
    )
    family = family_of(model.wrapped)
    tower, connector = (family.part(model.wrapped, part) for part in ("tower", "connector"))
    trainer = PretrainTrainer(
        model=model,
        args=arguments,
        data_collator=collator,
        lessons=lessons,
        tower=tower,
        connector=connector,
        patch=patch,
    )
    clock = _Clock(folder / "history.json", stage)
    trainer.add_callback(clock)
    trainer.train(
        resume_from_checkpoint=get_last_checkpoint(arguments.output_dir)
        if Path(arguments.output_dir).is_dir()
        else None
    )
    for hook in trainer.hooks:
        hook.remove()
    clock.keep([(h["step"], h["answers"]) for h in trainer.state.log_history if "answers" in h])
    save_file({k: v.contiguous() for k, v in model.state_dict().items()}, done)
