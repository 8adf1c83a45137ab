"""Greedy answers in batches, with a key-value cache."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence, Sized
from contextlib import ExitStack
from functools import partial
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from pcvr.data.asked import picked
from pcvr.errors import PcvrError, shown
from pcvr.models.budget import ANSWERED_ON_CPU, MOST_ANSWERED, Costs, check_size, grouped
from pcvr.models.conversation import end_of_turn
from pcvr.models.encode import prompt_batch, prompt_rows, room_for_answer
from pcvr.models.modes import eval_mode
from pcvr.models.tower import fed_tower
from pcvr.utils.checks import check_flag, check_whole
from pcvr.utils.heap import give_back

if TYPE_CHECKING:
    from pcvr.data.sample import Image
    from pcvr.models.encode import Batch
    from pcvr.models.guard import Generate, Guard
    from pcvr.models.vlm import VisionLanguageModel

MAX_NEW_TOKENS = 40
"""Default maximum length of an answer in tokens; longer than any caption of the scenes."""
_FEW = 16
"""So many answers leave too little freed memory to be given back."""


def generate(
    vlm: VisionLanguageModel | str | Path,
    images: Sequence[Image],
    prompts: Sequence[str],
    max_new_tokens: int = MAX_NEW_TOKENS,
    batch_size: int | None = None,
    progress: bool = False,
    *,
    guard: bool = True,
) -> list[str]:
    """Return the greedy answer to each image and prompt, through the model's guard if it has one.

    Args:
        vlm: a model from `pcvr.load` or a fine-tuning's ``model``; or a name that `pcvr.load` takes.
        images: N images, uint8 ``[H, W, 3]`` or PIL; a lazy sequence is read one by one.
        prompts: N prompts, without image tokens or template.
        max_new_tokens: maximum length of an answer; the model's context may end it earlier.
        batch_size: images at a time; None for as many as fit the memory, at most 256, on a CPU 64. Left padding keeps
            answers independent of the batch. If a CUDA device runs out of memory, the batch is halved.
        progress: whether a progress bar shows after two seconds.
        guard: False returns the model's own answers.

    Returns:
        N texts without special tokens.

    Raises:
        PcvrError: the numbers of prompts and images differ, a count is below 1, or a prompt has an image token or
            fills the model's context.
    """
    from tqdm.auto import tqdm

    from pcvr.models.load import load

    for what, given in (("images", images), ("prompts", prompts)):
        if isinstance(given, str | bytes | Mapping) or not isinstance(given, Sized):
            raise PcvrError(f"{what} is {shown(given)}: give a list, even for one.")
    if len(images) != len(prompts):
        raise PcvrError(f"{len(images)} images came with {len(prompts)} prompts: give one prompt for each picture.")
    check_whole("max_new_tokens", max_new_tokens, 1)
    check_size("batch_size", batch_size)
    check_flag("guard", guard)
    vlm = load(vlm)
    own = partial(_own_answers, max_new_tokens=max_new_tokens, batch_size=batch_size)
    if guard and vlm.guard is not None:
        parts = _guarded_answers(vlm, vlm.guard, images, prompts, lambda *asked: list(chain(*own(*asked))))
    else:
        parts = own(vlm, images, prompts)
    texts: list[str] = []
    with tqdm(total=len(images), desc="answer", unit="sample", delay=2, disable=not progress, leave=False) as bar:
        for part in parts:
            texts += part
            bar.update(len(part))
    if len(images) > _FEW:
        give_back()
    return texts


def _own_answers(
    vlm: VisionLanguageModel,
    images: Sequence[Image],
    prompts: Sequence[str],
    max_new_tokens: int,
    batch_size: int | None,
) -> Iterator[list[str]]:
    """Yield the model's own answers, batch by batch."""
    vlm.model.eval()
    costs, ends = Costs.of(vlm), _ends(vlm)
    rows = (row for _, row in prompt_rows(vlm, images, prompts))
    most = ANSWERED_ON_CPU if vlm.device.type == "cpu" else MOST_ANSWERED
    for group in grouped(rows, lambda row: costs.answering(row, max_new_tokens), most, vlm.device, given=batch_size):
        yield _answered(vlm, group, max_new_tokens, ends)


def _guarded_answers(
    vlm: VisionLanguageModel, guard: Guard, images: Sequence[Image], prompts: Sequence[str], answers: Generate
) -> Iterator[list[str]]:
    """Yield the answers that the guard gives, as many inputs at a time as a model answers at most."""
    for start in range(0, len(images), MOST_ANSWERED):
        rows = range(start, min(start + MOST_ANSWERED, len(images)))
        yield guard.answer(vlm, picked(images, rows), picked(prompts, rows), answers)


def answer_tokens(vlm: VisionLanguageModel, rows: Sequence[Batch], max_new_tokens: int) -> list[torch.Tensor]:
    """Return the model's own greedy answers as token ids that end as training answers do.

    Args:
        vlm: the model; a guard that it carries is not asked.
        rows: N encoded prompts (`pcvr.models.encode.prompt_rows`), with ``pixel_values`` or kept tower ``features``.
            They are answered in one batch, or in halves of it if a CUDA device runs out of memory.
        max_new_tokens: maximum length; the model's context may end an answer earlier.

    Returns:
        N tensors ``[n]`` on the CPU, n at least 1: the answer and the end-of-turn token; without it if it was cut.
    """
    ends = _ends(vlm)
    with eval_mode(vlm.model):
        said = [row for part in _continued(vlm, rows, max_new_tokens, ends) for row in part.tolist()]
    found = []
    for ids in said:
        length = next((place for place, token in enumerate(ids) if token in ends), None)
        answer = ids if length is None else [*ids[:length], end_of_turn(vlm)]
        found.append(torch.tensor(answer))
    return found


def _answered(vlm: VisionLanguageModel, rows: Sequence[Batch], max_new_tokens: int, ends: list[int]) -> list[str]:
    """Answer one batch, or its halves if it does not fit the device."""
    parts = _continued(vlm, rows, max_new_tokens, ends)
    return [t.strip() for part in parts for t in vlm.tokenizer.batch_decode(part, skip_special_tokens=True)]


@torch.inference_mode()
def _continued(
    vlm: VisionLanguageModel, rows: Sequence[Batch], max_new_tokens: int, ends: list[int]
) -> list[torch.Tensor]:
    """Return the tokens after encoded prompts, ``[n, new]`` with padding: of the whole batch, or of parts that fit."""
    inputs = prompt_batch(vlm, rows)
    length = inputs["input_ids"].shape[1]
    room = room_for_answer(vlm, length) or max_new_tokens
    try:
        with ExitStack() as stack:
            if (features := inputs.pop("features", None)) is not None:
                inputs["pixel_values"] = stack.enter_context(fed_tower(vlm, features))
            output = vlm.model.generate(
                **inputs, max_new_tokens=min(max_new_tokens, room), do_sample=False, use_cache=True, eos_token_id=ends
            )
        return [output[:, length:]]
    except torch.OutOfMemoryError:
        if len(rows) == 1:
            raise
    del inputs
    torch.cuda.empty_cache()
    half = len(rows) // 2
    return [found for part in (rows[:half], rows[half:]) for found in _continued(vlm, part, max_new_tokens, ends)]


def _ends(vlm: VisionLanguageModel) -> list[int]:
    """Return the token ids that end an answer: of fine-tuning, of the tokenizer and of the generation configs."""
    own = [
        getattr(part, "generation_config", None) for part in (vlm.base, vlm.family.part(vlm.model, "language_model"))
    ]
    found = [end_of_turn(vlm), vlm.tokenizer.eos_token_id]
    for config in own:
        ids = getattr(config, "eos_token_id", None)
        found += ids if isinstance(ids, list) else [ids]
    return list(dict.fromkeys(token for token in found if token is not None))
