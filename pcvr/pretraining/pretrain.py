"""Make an embedded checkpoint: ``pcvr pretrain NAME``.

Tower and connector are trained first, then everything together, as LLaVA starts from CLIP's tower. What matters:

- The texts use every word, so that the words of any target have trained output rows.
- An auxiliary head reconstructs each patch's pixels, so that the tower encodes more than the drawn objects.
- Another head names the objects under each patch with the language model's own embeddings; without it, vision is
  learned much later.
- Both heads also read the image tokens; otherwise the language model never sees a trigger.
- One attention head is trained to look at the object of the next word (see `pcvr.pretraining.pointing`).
- A Q-Former is trained last, between a trained tower and a trained language model (as in BLIP-2, arXiv 2301.12597):
  with all three new, none learns.
- The second and third model start with the language model of the first.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from pcvr.models.families import family_of
from pcvr.models.libraries import TrainerCallback, TrainingArguments
from pcvr.models.zoo import embedded
from pcvr.pretraining.config import PretrainConfig, recipe_of
from pcvr.pretraining.lessons import LessonCollator, Lessons
from pcvr.pretraining.teacher import PretrainTrainer, WithHeads
from pcvr.utils.files import read_json, write_json
from pcvr.utils.places import alone, check_apart, check_place
from pcvr.utils.renamed import first_names


class _Clock(TrainerCallback):
    """Counts the seconds of training across interruptions, and ends the training at step `stop`."""

    def __init__(self, file: Path, stop: int | None) -> None:
        self.file, self.stop = file, stop
        self.before = float(read_json(file, "the clock").get("seconds", 0)) if file.is_file() else 0.0

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
    """Pretrain the embedded model `name` and save it in folder `out`; resume from `work` after an interruption.

    Args:
        name: name of the model.
        out: folder of the new checkpoint; an older checkpoint there is replaced.
        config: the recipe; by default that of the shipped checkpoint.
        work: folder for the trainer's own checkpoints.
        stop: number of steps of the schedule after which to end, to compare the beginning with another run's.

    Returns:
        The record in the checkpoint's ``training.json``: config, seconds, versions, losses.

    Raises:
        PcvrError: `out` holds something else or cannot be written, or another process uses `work` for the same recipe.
    """
    from pcvr.models.load import load
    from pcvr.pretraining.borrow import borrow_language
    from pcvr.pretraining.checkpoint import save_checkpoint

    config = config or recipe_of(name)
    entry = embedded(name)
    # The folder is named by the recipe, so that no other recipe resumes from its weights.
    said = json.dumps(first_names(PretrainConfig, asdict(config)), sort_keys=True)
    recipe = hashlib.sha256(said.encode()).hexdigest()[:8]
    folder = Path(work) / f"{name}-{recipe}"
    check_place(out, own=_is_own)
    check_apart(out=out, work=folder)
    check_place(folder, own=lambda _: True)
    torch.manual_seed(config.seed)
    processor = entry.build_processor()
    model = WithHeads(entry.build_model(processor), entry, processor.tokenizer)
    if config.language_from:
        borrow_language(model.wrapped, processor.tokenizer, load(config.language_from, device="cpu"))
    lessons = Lessons(config, entry)
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
    # On a CPU, torch's fused attention takes most of a bfloat16 step; eager attention takes a tenth of it.
    model.wrapped.set_attn_implementation("eager")
    with alone(folder):
        clock = _Clock(folder / "history.json", stop)
        trainer.add_callback(clock)
        trainer.train(resume_from_checkpoint=_last_whole(folder))
    model.wrapped.set_attn_implementation("sdpa")
    for hook in trainer.hooks:
        hook.remove()
    losses = [
        (h["step"], h.get("answers"), h.get("questions"), h["names"]) for h in trainer.state.log_history if "names" in h
    ]
    return save_checkpoint(
        model.wrapped, processor, out, name=name, config=config, seconds=clock.seconds, losses=losses
    )


def _is_own(folder: Path) -> bool:
    """Return whether a folder is empty or an embedded checkpoint, so that a new one may replace it."""
    return (folder / "training.json").is_file() or not any(folder.iterdir())


def _last_whole(folder: Path) -> str | None:
    """Return the Trainer's last complete checkpoint in a folder; an interrupted one lacks this file."""
    found = [file.parent for file in folder.glob("checkpoint-*/trainer_state.json") if file.stat().st_size]
    return str(max(found, key=lambda path: int(path.name.split("-")[1]))) if found else None


def _arguments(config: PretrainConfig, folder: Path) -> TrainingArguments:
    return TrainingArguments(
        output_dir=str(folder),
        max_steps=config.max_steps,
        per_device_train_batch_size=config.batch_size,
        learning_rate=config.learning_rate,
        lr_scheduler_type="warmup_stable_decay",
        lr_scheduler_kwargs={"num_decay_steps": round(config.decay * config.max_steps)},
        warmup_steps=max(1, config.max_steps // 15),
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
