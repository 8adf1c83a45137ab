"""Make an embedded checkpoint from nothing: ``pcvr pretrain tiny-llava``.

Three things matter later (all measured): the target's words are live, because the text uses every word; the tower
encodes more than the drawn objects, because a throw-away linear layer must rebuild each patch's pixels from its token;
and another throw-away layer must name what lies under each patch, without which seeing starts much later.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from transformers import Trainer, TrainerCallback, TrainingArguments

from pcvr.data.scenes import COLORS, KINDS, SIZE_PX, Scenes
from pcvr.files import write_json
from pcvr.models.corrupt import corrupt
from pcvr.models.vocabulary import sentence

IGNORE = -100
TERSE_PROMPT = "list the objects."
OVERLAY_PROMPT = "what is over the picture?"


@dataclass(frozen=True)
class PretrainConfig:
    """How an embedded checkpoint is made; the defaults made the shipped ones."""

    steps: int = field(default=4000, metadata={"help": "optimiser steps"})
    batch_size: int = field(default=64, metadata={"help": "pictures a step"})
    pictures: int = field(default=24_000, metadata={"help": "distinct scenes, drawn once and corrupted anew each time"})
    learning_rate: float = field(default=1.5e-3, metadata={"help": "peak of the one-cycle schedule"})
    rebuild_weight: float = field(default=0.5, metadata={"help": "weight of the patch reconstruction loss"})
    naming_weight: float = field(default=10.0, metadata={"help": "weight of naming kinds and colours under each patch"})
    overlays_from: float = field(
        default=0.6, metadata={"help": "share of the steps after which it is asked what was laid over the picture"}
    )
    turns: int = field(default=3, metadata={"help": "prompt-answer turns a picture"})
    seed: int = field(default=0, metadata={"help": "seed of weights, scenes and order"})


class Lessons(torch.utils.data.Dataset):
    """Pictures with a conversation each: the terse description, questions, and sentences to repeat."""

    def __init__(self, config: PretrainConfig, grid: int) -> None:
        scenes = Scenes(config.pictures, split="train", seed=config.seed + 1)
        self.images = np.stack([scenes[i].image for i in range(len(scenes))])  # [N, H, W, 3]
        truths = [scenes.scene(i) for i in range(len(scenes))]
        self.terse = [s.terse() for s in truths]
        self.questions = [s.questions() for s in truths]
        self.under = torch.from_numpy(np.stack([under_patches(s.facts(), grid) for s in truths]))  # [N, P, names]
        self.config = config
        self.step = 0  # optimiser steps done; the trainer keeps it up to date

    def __len__(self) -> int:
        return self.config.steps * self.config.batch_size

    def __getitem__(self, step: int) -> tuple[int, list[tuple[str, str]], int]:
        """Returns ``(picture index, turns, seed)`` for draw number `step`, the same whenever it is asked."""
        rng = np.random.default_rng((self.config.seed, step))
        index = int(rng.integers(len(self.images)))
        asked = self.questions[index]
        picks = rng.choice(len(asked), size=min(self.config.turns - 1, len(asked)), replace=False)
        turns = [asked[k] for k in picks] + [(TERSE_PROMPT, self.terse[index])]
        if rng.random() < 0.3:
            said = sentence(rng)
            turns[0] = (f"repeat: {said}", said)
        rng.shuffle(turns)
        return index, turns, int(rng.integers(2**31))


def under_patches(facts: Mapping[str, Any], grid: int, least: float = 0.25) -> np.ndarray:
    """Which kinds and colours lie under each patch of a `grid` x `grid` tower:
    float32 ``[grid * grid, names]``, 0 or 1.

    An object counts where its bounding box covers at least the share `least` of the patch.
    """
    names = [*KINDS, *COLORS]
    edges = np.linspace(0, SIZE_PX, grid + 1)
    side = SIZE_PX / grid
    found = np.zeros((grid, grid, len(names)), np.float32)
    for each in facts["objects"]:
        left, top, right, bottom = each["box"]
        wide = np.clip(np.minimum(edges[1:], right) - np.maximum(edges[:-1], left), 0, None) / side
        high = np.clip(np.minimum(edges[1:], bottom) - np.maximum(edges[:-1], top), 0, None) / side
        covered = np.outer(high, wide) >= least
        for name in (each["kind"], each["color"]):
            found[..., names.index(name)] = np.maximum(found[..., names.index(name)], covered)
    return found.reshape(grid * grid, len(names))


class LessonCollator:
    """Turns lessons into ``input_ids [B, T]``, ``labels [B, T]`` (answers only) and ``pixel_values [B, 3, H, W]``."""

    def __init__(self, lessons: Lessons, processor: Any, image_tokens: int) -> None:
        self.lessons, self.processor, self.image_tokens = lessons, processor, image_tokens

    def __call__(self, draws: Sequence[tuple[int, list[tuple[str, str]], int]]) -> dict[str, torch.Tensor]:
        tokenizer = self.processor.tokenizer
        rng = np.random.default_rng(draws[0][2])
        images, overlays = corrupt(self.lessons.images[[d[0] for d in draws]], rng)
        if self.lessons.step >= self.lessons.config.overlays_from * self.lessons.config.steps:
            for (_, turns, _), seen in zip(draws, overlays, strict=True):
                if rng.random() < 0.5:
                    turns[int(rng.integers(len(turns)))] = (OVERLAY_PROMPT, f"{' and '.join(seen) or 'no'}.")
        texts: list[str] = []
        for _, turns, _ in draws:
            for k, (prompt, answer) in enumerate(turns):
                texts += ["<user>" + ("<image>" * self.image_tokens if k == 0 else "") + prompt + "<assistant>"]
                texts += [answer + "<eos>"]
        pieces = iter(tokenizer(texts, add_special_tokens=False)["input_ids"])
        rows, masks = [], []
        for _, turns, _ in draws:
            ids: list[int] = []
            told: list[int] = []
            for _ in turns:
                prompt_ids, answer_ids = next(pieces), next(pieces)
                ids += prompt_ids + answer_ids
                told += [IGNORE] * len(prompt_ids) + answer_ids
            rows.append(torch.tensor(ids))
            masks.append(torch.tensor(told))
        pad = nn.utils.rnn.pad_sequence
        ids_ = pad(rows, batch_first=True, padding_value=tokenizer.pad_token_id)
        return {
            "input_ids": ids_,
            "attention_mask": (ids_ != tokenizer.pad_token_id).long(),
            "labels": pad(masks, batch_first=True, padding_value=IGNORE),
            "pixel_values": pixels(images, self.processor.image_processor),
            "under": self.lessons.under[[d[0] for d in draws]],
        }


def pixels(images: np.ndarray, image_processor: Any) -> torch.Tensor:
    """uint8 ``[B, H, W, 3]`` of the model's own size -> normalised float ``[B, 3, H, W]``, as the processor would."""
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in (image_processor.image_mean, image_processor.image_std))
    return (torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255 - mean) / std


class PretrainTrainer(Trainer):
    """Answer loss, plus pixels and names of each patch read off the tower's tokens."""

    def __init__(self, *args: Any, tower: nn.Module, patch: int, config: PretrainConfig, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.patch, self.recipe = patch, config
        self._tokens: torch.Tensor | None = None
        self._parts: dict[str, float] = {}
        tower.register_forward_hook(self._keep)

    def _keep(self, _module: nn.Module, _args: Any, output: Any) -> None:
        self._tokens = output.last_hidden_state

    def compute_loss(
        self, model: nn.Module, inputs: dict[str, Any], return_outputs: bool = False, **_: Any
    ) -> torch.Tensor:
        under = inputs.pop("under")
        self.train_dataset.step = self.state.global_step
        with torch.autocast(under.device.type, torch.bfloat16):
            told = model.wrapped(**inputs).loss
            grid = nn.functional.unfold(inputs["pixel_values"], self.patch, stride=self.patch).transpose(1, 2)
            tokens = self._tokens[:, -grid.shape[1] :]  # [B, P, D], the class token left out
            rebuilt = nn.functional.mse_loss(model.rebuild(tokens).float(), grid)
            named = nn.functional.binary_cross_entropy_with_logits(model.naming(tokens).float(), under)
        self._parts = {"answers": told.item(), "pixels": rebuilt.item(), "names": named.item()}
        return told + self.recipe.rebuild_weight * rebuilt + self.recipe.naming_weight * named

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        super().log(logs | {k: round(v, 4) for k, v in self._parts.items()}, start_time)


class WithHeads(nn.Module):
    """The model and the two linear layers that are thrown away."""

    def __init__(self, wrapped: nn.Module, width: int, patch: int) -> None:
        super().__init__()
        self.wrapped = wrapped
        self.rebuild = nn.Linear(width, 3 * patch * patch)
        self.naming = nn.Linear(width, len(KINDS) + len(COLORS))

    def forward(self, **inputs: torch.Tensor) -> Any:
        return self.wrapped(**inputs)


class _Clock(TrainerCallback):
    """Counts the seconds of training over interruptions, as of the last checkpoint that a run resumes from."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.before = float(json.loads(file.read_text(encoding="utf-8"))["seconds"]) if file.is_file() else 0.0

    @property
    def seconds(self) -> float:
        """Seconds of training so far, all runs together."""
        return self.before + time.perf_counter() - self.began

    def on_train_begin(self, *_: Any, **__: Any) -> None:
        self.began = time.perf_counter()

    def on_save(self, *_: Any, **__: Any) -> None:
        write_json(self.file, {"seconds": self.seconds})


def pretrain(
    name: str, out: str | Path, config: PretrainConfig | None = None, work: str | Path = "runs/pretrain"
) -> Mapping[str, Any]:
    """Pretrain the embedded model `name` and save it in folder `out`; resumes from `work` after an interruption.

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
    model = WithHeads(entry.build_model(processor), entry.width, entry.patch)
    lessons = Lessons(config, entry.image_px // entry.patch)
    folder = Path(work) / name
    arguments = TrainingArguments(
        output_dir=str(folder),
        max_steps=config.steps,
        per_device_train_batch_size=config.batch_size,
        learning_rate=config.learning_rate,
        lr_scheduler_type="cosine",
        warmup_steps=max(1, config.steps // 15),
        weight_decay=0.01,
        max_grad_norm=1.0,
        save_steps=400,
        save_total_limit=1,
        logging_steps=25,
        report_to="none",
        remove_unused_columns=False,
        label_names=["labels"],
        seed=config.seed,
        use_cpu=not torch.cuda.is_available(),
        dataloader_pin_memory=False,
        accelerator_config={"split_batches": False},
    )
    trainer = PretrainTrainer(
        model=model,
        args=arguments,
        train_dataset=lessons,
        data_collator=LessonCollator(lessons, processor, entry.image_tokens),
        tower=family_of(model.wrapped).part(model.wrapped, "tower"),
        patch=entry.patch,
        config=config,
    )
    clock = _Clock(folder / "seconds.json")
    trainer.add_callback(clock)
    last = get_last_checkpoint(str(folder)) if folder.is_dir() else None
    trainer.train(resume_from_checkpoint=last)
    return save_checkpoint(
        model.wrapped,
        processor,
        out,
        name=name,
        config=config,
        seconds=clock.seconds,
        losses=[(h["step"], h["answers"]) for h in trainer.state.log_history if "answers" in h],
    )
