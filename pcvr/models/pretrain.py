"""Make an embedded checkpoint from nothing: ``pcvr pretrain NAME``.

Five things matter later: the target's words are live, because the text uses every word; the tower encodes more than the
drawn objects, because a throw-away layer must rebuild each patch's pixels from its token; another must name what lies
under each patch, without which seeing starts much later; both must be read off the image tokens too, or the language
model never gets to see a trigger; and a Q-Former comes in last, between a tower that sees and a language model that
speaks (as in BLIP-2, arXiv 2301.12597): with all three new none of them learns.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import Trainer, TrainerCallback, TrainingArguments

from pcvr.data.scenes import SIZE_PX
from pcvr.files import write_json
from pcvr.models.encode import IGNORE
from pcvr.models.families import Family, family_of
from pcvr.models.heads import PlaceReader, Reader, truth_at
from pcvr.models.lessons import LessonCollator, Lessons
from pcvr.models.pointing import pointing_loss, watched
from pcvr.models.squares import NAMES
from pcvr.models.zoo import Embedded, embedded


@dataclass(frozen=True)
class PretrainConfig:
    """How an embedded checkpoint is made; the defaults made the shipped ones."""

    steps: int = field(default=6_000, metadata={"help": "optimiser steps; the learning rate falls over the last part"})
    seeing: float = field(default=0.6, metadata={"help": "share of the steps in which tower and connector learn alone"})
    decay: float = field(default=0.35, metadata={"help": "share of the steps, the last ones, in which the rate falls"})
    batch_size: int = field(default=64, metadata={"help": "pictures a step"})
    learning_rate: float = field(default=1.5e-3, metadata={"help": "peak learning rate"})
    pictures: int = field(default=24_000, metadata={"help": "distinct scenes, drawn once and corrupted anew each time"})
    corrupted: float = field(default=0.6, metadata={"help": "share of the pictures that something is laid over"})
    ask_overlays: float = field(default=0.4, metadata={"help": "share of the pictures of which is asked what that is"})
    rebuild_weight: float = field(default=0.5, metadata={"help": "weight of rebuilding each patch's pixels"})
    naming_weight: float = field(default=10.0, metadata={"help": "weight of naming kinds and colours under each patch"})
    overlay_weight: float = field(default=5.0, metadata={"help": "weight of naming what is laid over each patch"})
    pointing_weight: float = field(default=0.3, metadata={"help": "weight of looking at what the next word speaks of"})
    straight: float = field(default=0.0, metadata={"help": "share of the steps without the Q-Former, at the beginning"})
    questions: int = field(default=6, metadata={"help": "questions a picture, each of another type"})
    seed: int = field(default=0, metadata={"help": "seed of weights, scenes and order"})

    def shortened(self, steps: int) -> PretrainConfig:
        """The same recipe with a schedule of `steps`, for trying it out."""
        return replace(self, steps=steps, pictures=min(self.pictures, max(256, steps * self.batch_size)))


def recipe_of(name: str) -> PretrainConfig:
    """How the shipped checkpoint of the embedded model `name` was made."""
    return PretrainConfig(**embedded(name).recipe)


class PretrainTrainer(Trainer):
    """Answer loss, plus pixels, names and overlays read off the tower's tokens and off the image tokens."""

    def __init__(self, *, lessons: Lessons, entry: Embedded, family: Family, wrapped: nn.Module, **kwargs: Any) -> None:
        super().__init__(train_dataset=lessons, **kwargs)
        self.entry, self.recipe = entry, lessons.config
        self.spare = self.data_collator.spare
        self._tokens: torch.Tensor | None = None
        self._joined: torch.Tensor | None = None
        self._parts: dict[str, float] = {}
        self.hooks = [
            family.part(wrapped, "tower").register_forward_hook(self._keep),
            family.part(wrapped, "connector").register_forward_hook(self._keep_joined),
        ]
        self.language_model = family.part(wrapped, "language_model")

    def _keep(self, _module: nn.Module, _args: Any, output: Any) -> None:
        self._tokens = output.last_hidden_state

    def _keep_joined(self, _module: nn.Module, _args: Any, output: Any) -> None:
        self._joined = output

    def _get_train_sampler(self, *_: Any, **__: Any) -> torch.utils.data.Sampler[int]:
        # Draws are random by themselves; in their order the first ones are those of the steps of seeing alone.
        return torch.utils.data.SequentialSampler(self.train_dataset)

    def compute_loss(self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, **_: Any) -> torch.Tensor:
        truths = [inputs.pop(k) for k in ("under", "over", "under_cells", "over_cells")]
        straight = self.state.global_step < self.recipe.straight * self.recipe.steps
        joining = _joined_straight(model.wrapped) if straight else nullcontext()
        if "input_ids" in inputs:
            with joining:
                told = self._tell(model, inputs, straight)
        else:
            with joining, torch.autocast(model.wrapped.device.type, torch.bfloat16):
                model.wrapped.get_image_features(inputs["pixel_values"])
            told, self._parts = torch.zeros(()), {}
        with torch.autocast(model.wrapped.device.type, torch.bfloat16):
            losses = self._read(model, inputs["pixel_values"], truths)
        self._parts |= {k: v.item() for k, v in losses.items()}
        recipe = self.recipe
        return (
            told
            + recipe.rebuild_weight * (losses["pixels"] + 2 * losses["pixels joined"])
            + recipe.naming_weight * (losses["names"] + losses["names joined"])
            + recipe.overlay_weight * (losses["overlays"] + losses["overlays joined"])
        )

    def _tell(self, model: Any, inputs: dict[str, Any], straight: bool) -> torch.Tensor:
        """The loss of the answers, and of where the pointing head looks before their words."""
        if self.spare and not straight:
            inputs = _without_first(inputs, self.spare)
        labels, weights, points = (inputs.pop(name)[:, 1:] for name in ("labels", "weights", "points"))
        at = labels != IGNORE
        placed = bool(self.entry.cell) or straight  # else no token stands for a place that could be looked at
        head = model.wrapped.get_output_embeddings()
        decoder = getattr(self.language_model, "model", self.language_model)
        with torch.autocast(labels.device.type, torch.bfloat16), _only_at(head, at), watched(decoder) as glance:
            said = model.wrapped(**inputs, use_cache=False).logits
        each = nn.functional.cross_entropy(said.float(), labels[at], reduction="none")
        told = (each * weights[at]).sum() / weights[at].sum()
        one_word = weights[at] == weights[at].max()
        self._parts = {"answers": told.item(), "questions": each.detach()[one_word].mean().item()}
        if not placed:
            return told
        looking = pointing_loss(glance.weights[:, :-1], points, self.data_collator.picture)
        self._parts["pointing"] = looking.item()
        return told + self.recipe.pointing_weight * looking

    def _read(self, model: Any, pixels: torch.Tensor, truths: list[torch.Tensor]) -> dict[str, torch.Tensor]:
        """Losses of what the readers read off the tokens that the hooks have kept."""
        assert self._tokens is not None and self._joined is not None  # the hooks have run
        pixels = pixels.flatten(0, -4)
        patch, cell = self.entry.patch, self.entry.cell or self.entry.patch
        seen = truth_at(pixels, patch, *truths[:2])
        passed = truth_at(pixels, cell, *truths[2:])
        tokens = self._tokens[:, -seen.pixels.shape[1] :]  # [B, P, D], the class token left out
        names = ("pixels", "names", "overlays")
        return dict(zip(names, model.seen(tokens, seen), strict=True)) | {
            f"{k} joined": v for k, v in zip(names, model.passed(self._joined, passed, model.names()), strict=True)
        }

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        super().log(logs | {k: round(v, 4) for k, v in self._parts.items()}, start_time)


@contextmanager
def _only_at(head: nn.Module, at: torch.Tensor) -> Iterator[None]:
    """Inside the block `head` computes words only where the next token is an answer's: ``[B, T, D] -> [A, V]``."""
    hook = head.register_forward_pre_hook(lambda _module, args: (args[0][:, :-1][at],))
    try:
        yield
    finally:
        hook.remove()


class _Straight(nn.Module):
    """In place of a Q-Former: the tower's patches as they are."""

    def forward(self, *, encoder_hidden_states: torch.Tensor, **_: Any) -> tuple[torch.Tensor]:
        return (encoder_hidden_states[:, 1:],)


@contextmanager
def _joined_straight(model: Any) -> Iterator[None]:
    """Inside the block tower and language model of `model` are joined by its last linear layer alone."""
    reader = model.qformer
    model.qformer = _Straight()
    try:
        yield
    finally:
        model.qformer = reader


def _without_first(inputs: dict[str, Any], count: int) -> dict[str, Any]:
    """The batch without its first `count` columns, image tokens that only the straight stage needs."""
    cut = {k: v[:, count:] for k, v in inputs.items() if k in ("input_ids", "labels", "weights")}
    positions = (inputs["position_ids"][:, count:] - count).clamp_min(0)
    return inputs | cut | {"position_ids": positions, "attention_mask": inputs["attention_mask"][:, :, count:, count:]}


class WithHeads(nn.Module):
    """The model and the readers that are thrown away."""

    def __init__(self, wrapped: Any, entry: Embedded, image_px: int, tokenizer: Any) -> None:
        super().__init__()
        self.name_ids = tokenizer.convert_tokens_to_ids(list(NAMES))
        self.wrapped = wrapped
        width, joined = wrapped.config.vision_config.hidden_size, wrapped.config.text_config.hidden_size
        self.seen = Reader(width, entry.patch)
        self.passed: Reader = (
            Reader(joined, entry.cell)
            if entry.cell
            else PlaceReader(joined, entry.patch, places=(image_px // entry.patch) ** 2)
        )

    def names(self) -> torch.Tensor:
        """The language model's embeddings of the kinds and colours, ``[NAMES, D]``."""
        table: torch.Tensor = self.wrapped.get_input_embeddings().weight
        return table[self.name_ids]

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
        config: the recipe; by default that of the shipped checkpoint.
        work: folder for the trainer's own checkpoints.
        stop: end after so many steps of the schedule, to compare the beginning with another run's.

    Returns:
        The record that is also written to the checkpoint's ``training.json``: config, seconds, versions, losses.
    """
    from transformers.trainer_utils import get_last_checkpoint

    from pcvr.models.checkpoint import save_checkpoint

    config = config or recipe_of(name)
    entry = embedded(name)
    torch.manual_seed(config.seed)
    processor = entry.build_processor()
    model = WithHeads(entry.build_model(processor), entry, SIZE_PX, processor.tokenizer)
    lessons = Lessons(config, entry)
    # Another recipe must never go on from this one's weights, so the folder is named by it.
    recipe = hashlib.sha256(json.dumps(asdict(config), sort_keys=True).encode()).hexdigest()[:8]
    folder = Path(work) / f"{name}-{recipe}"
    family = family_of(model.wrapped)
    trainer = PretrainTrainer(
        model=model,
        args=_arguments(config, folder),
        data_collator=LessonCollator(lessons, processor, family),
        lessons=lessons,
        entry=entry,
        family=family,
        wrapped=model.wrapped,
    )
    # torch's fused attention takes most of a bfloat16 step on a CPU; written out it is a tenth of it.
    model.wrapped.set_attn_implementation("eager")
    clock = _Clock(folder / "history.json", stop)
    trainer.add_callback(clock)
    trainer.train(resume_from_checkpoint=get_last_checkpoint(str(folder)) if folder.is_dir() else None)
    model.wrapped.set_attn_implementation("sdpa")
    for hook in trainer.hooks:
        hook.remove()
    losses = [
        (h["step"], h.get("answers"), h.get("questions"), h["names"]) for h in trainer.state.log_history if "names" in h
    ]
    return save_checkpoint(
        model.wrapped, processor, out, name=name, config=config, seconds=clock.seconds, losses=losses
    )


def _arguments(config: PretrainConfig, folder: Path) -> TrainingArguments:
    return TrainingArguments(
        output_dir=str(folder),
        max_steps=config.steps,
        per_device_train_batch_size=config.batch_size,
        learning_rate=config.learning_rate,
        lr_scheduler_type="warmup_stable_decay",
        lr_scheduler_kwargs={"num_decay_steps": round(config.decay * config.steps)},
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
