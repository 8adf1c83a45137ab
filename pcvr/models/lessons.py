"""What an embedded model is taught: pictures, corrupted anew each time, with a conversation each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from pcvr.data.scenes import COLORS, KINDS, SIZE_PX, Scenes
from pcvr.models.corrupt import OVERLAYS, Overlay, corrupt
from pcvr.models.encode import IGNORE
from pcvr.models.vocabulary import sentence

if TYPE_CHECKING:
    from pcvr.models.pretrain import PretrainConfig

TERSE_PROMPT = "list the objects."
OVERLAY_PROMPT = "what is over the picture?"

Draw = tuple[int, list[tuple[str, str]], int]
"""Picture index, turns of prompt and answer, seed of the corruption."""


class Lessons(torch.utils.data.Dataset[Draw]):
    """Pictures with a conversation each: the terse description, questions, and sentences to repeat."""

    def __init__(self, config: PretrainConfig, grid: int) -> None:
        scenes = Scenes(config.pictures, split="train", seed=config.seed + 1)
        self.images = np.stack([scenes[i].image for i in range(len(scenes))])  # [N, H, W, 3]
        truths = [scenes.scene(i) for i in range(len(scenes))]
        self.terse = [s.terse() for s in truths]
        self.questions = [s.questions() for s in truths]
        self.under = torch.from_numpy(np.stack([under_patches(s.facts(), grid) for s in truths]))  # [N, P, names]
        self.config, self.grid = config, grid

    def __len__(self) -> int:
        return self.config.steps * self.config.batch_size

    def __getitem__(self, number: int) -> Draw:
        """Draw `number`, the same whenever it is asked."""
        rng = np.random.default_rng((self.config.seed, number))
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


def overlay_patches(overlays: Sequence[Overlay], grid: int) -> np.ndarray:
    """Which kinds of overlay touch each patch: float32 ``[grid * grid, 4]`` in the order of `OVERLAYS`, 0 or 1."""
    edges = np.linspace(0, SIZE_PX, grid + 1)
    found = np.zeros((grid, grid, len(OVERLAYS)), np.float32)
    for each in overlays:
        left, top, right, bottom = each.box or (0, 0, SIZE_PX, SIZE_PX)
        touched = np.outer((edges[1:] > top) & (edges[:-1] < bottom), (edges[1:] > left) & (edges[:-1] < right))
        found[touched, OVERLAYS.index(each.kind)] = 1
    return found.reshape(grid * grid, len(OVERLAYS))


class LessonCollator:
    """Turns lessons into ``input_ids [B, T]``, ``labels [B, T]`` (answers only) and ``pixel_values [B, 3, H, W]``."""

    def __init__(self, lessons: Lessons, processor: Any, image_tokens: int) -> None:
        self.lessons, self.processor, self.image_tokens = lessons, processor, image_tokens

    def __call__(self, draws: Sequence[Draw]) -> dict[str, torch.Tensor]:
        tokenizer, recipe = self.processor.tokenizer, self.lessons.config
        rng = np.random.default_rng(draws[0][2])
        images, overlays = corrupt(self.lessons.images[[d[0] for d in draws]], rng, recipe.corrupted)
        for (_, turns, _), seen in zip(draws, overlays, strict=True):
            if rng.random() < recipe.ask_overlays:
                said = " and ".join(each.words for each in seen) or "no"
                turns[int(rng.integers(len(turns)))] = (OVERLAY_PROMPT, f"{said}.")
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
            "over": torch.from_numpy(np.stack([overlay_patches(seen, self.lessons.grid) for seen in overlays])),
        }


def pixels(images: np.ndarray, image_processor: Any) -> torch.Tensor:
    """uint8 ``[B, H, W, 3]`` of the model's own size -> normalised float ``[B, 3, H, W]``, as the processor would."""
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in (image_processor.image_mean, image_processor.image_std))
    return (torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255 - mean) / std
