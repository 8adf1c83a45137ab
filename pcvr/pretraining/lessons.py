"""The data of pretraining: images, newly corrupted each time, with a conversation each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from pcvr.data.scenes import SIZE_PX, Scenes
from pcvr.data.scenes.language import CAPTION_PROMPT
from pcvr.models.encode import IGNORE
from pcvr.pretraining.corrupt import corrupt
from pcvr.pretraining.pointing import spoken_of
from pcvr.pretraining.squares import object_squares, overlay_squares, under_squares
from pcvr.pretraining.vocabulary import sentence

if TYPE_CHECKING:
    from pcvr.data.scenes.questions import Question
    from pcvr.data.scenes.scene import Scene
    from pcvr.data.scenes.telegrams import Turn
    from pcvr.models.families import Family
    from pcvr.models.zoo import Embedded
    from pcvr.pretraining.config import PretrainConfig

OVERLAY_PROMPT = "what is over the picture?"

LISTS = 2
"""Turns that list the scene, in free wording and as a telegram; questions follow."""

Draw = tuple[int, list[tuple[str, str]], int]
"""Image index, turns of prompt and answer (none while only tower and connector learn), seed of the corruption."""


@dataclass(frozen=True)
class Picture:
    """One image with its texts and its content.

    Attributes:
        image: uint8 ``[H, W, 3]``.
        scene: the drawn scene.
        telegrams: prompts and answers in telegram style.
        questions: questions and answers, by type.
        under: names under each square, ``[P, names]``, for each grid of `Lessons.grids`.
        kinds: kind of each object.
        places: squares of each object on the grid of image tokens, ``[objects, P]``.
    """

    image: np.ndarray
    scene: Scene
    telegrams: tuple[Turn, ...]
    questions: tuple[tuple[Question, ...], ...]
    under: dict[str, torch.Tensor]
    kinds: list[str]
    places: np.ndarray


class Lessons(torch.utils.data.Dataset[Draw]):
    """Images with turns about each: two lists of the objects, questions of several types, sentences to repeat.

    Images are drawn on first access, and cached.
    """

    def __init__(self, config: PretrainConfig, entry: Embedded) -> None:
        self.config = config
        # Squares along a side of the grids of the tower's tokens and of the image tokens.
        self.grids = {"": SIZE_PX // entry.patch, "_cells": SIZE_PX // entry.cell}
        self.picture = cache(self._picture)
        self._scenes = Scenes(config.pictures, split="train", seed=config.seed + 1)

    def _picture(self, index: int) -> Picture:
        scene = self._scenes.scene(index)
        facts = scene.facts()
        return Picture(
            self._scenes[index].image,
            scene,
            scene.telegrams(),
            scene.questions(),
            {end: torch.from_numpy(under_squares(facts, grid)) for end, grid in self.grids.items()},
            [o["kind"] for o in facts["objects"]],
            object_squares(facts, self.grids["_cells"]),
        )

    def __len__(self) -> int:
        return self.config.max_steps * self.config.batch_size

    def __getitem__(self, number: int) -> Draw:
        """Return draw `number`, which is deterministic."""
        rng = np.random.default_rng((self.config.seed, number))
        index = int(rng.integers(self.config.pictures))
        if number < self.config.seeing * self.config.max_steps * self.config.batch_size:
            return index, [], int(rng.integers(2**31))
        picture = self.picture(index)
        telegrams, groups = picture.telegrams, picture.questions
        turns = [
            (CAPTION_PROMPT, picture.scene.described(int(rng.integers(2**31)))),
            telegrams[0 if rng.random() < 0.5 else int(rng.integers(1, len(telegrams)))],
        ]
        for kind in rng.choice(len(groups), size=min(self.config.questions, len(groups)), replace=False):
            turns.append(groups[kind][int(rng.integers(len(groups[kind])))])
        if rng.random() < 0.3:
            text = sentence(rng)
            turns[-1] = (f"repeat: {text}", text)
        return index, turns, int(rng.integers(2**31))


class LessonCollator:
    """Collates draws; all turns about an image attend to the image, and no turn attends to another.

    A batch has ``input_ids``, ``labels`` (answers only), ``weights`` (of the labels) and ``position_ids`` ``[B, T]``,
    ``attention_mask [B, 1, T, T]``, ``pixel_values [B, 3, H, W]``, and the objects and overlays of each patch. If turns
    attended to each other, the list in one turn would answer the questions of the others without the image.
    """

    def __init__(self, lessons: Lessons, processor: Any, family: Family) -> None:
        self.lessons, self.processor, self.family = lessons, processor, family
        self.prefix, self.bridge = _frame(processor, family)
        image = processor.tokenizer.convert_tokens_to_ids("<image>")
        first = self.prefix.index(image)
        self.picture = slice(first, first + self.prefix.count(image))

    def __call__(self, draws: Sequence[Draw]) -> dict[str, torch.Tensor]:
        recipe = self.lessons.config
        rng = np.random.default_rng(draws[0][2])
        pictures = [self.lessons.picture(index) for index, _, _ in draws]
        images, overlays = corrupt(np.stack([each.image for each in pictures]), rng, recipe.corrupted)
        places = {
            "pixel_values": self._pixels(images),
            **{f"under{end}": torch.stack([each.under[end] for each in pictures]) for end in self.lessons.grids},
            **{
                f"over{end}": torch.from_numpy(np.stack([overlay_squares(seen, grid) for seen in overlays]))
                for end, grid in self.lessons.grids.items()
            },
        }
        if not all(turns for _, turns, _ in draws):
            return places
        conversations = [turns for _, turns, _ in draws]
        for turns, seen in zip(conversations, overlays, strict=True):
            if rng.random() < recipe.ask_overlays:
                words = " and ".join(each.words for each in seen) or "no"
                turns[int(rng.integers(LISTS, len(turns)))] = (OVERLAY_PROMPT, f"{words}.")
        return places | self._text(pictures, conversations)

    def _text(
        self, pictures: Sequence[Picture], conversations: Sequence[list[tuple[str, str]]]
    ) -> dict[str, torch.Tensor]:
        """Return the text part of a batch."""
        tokenizer = self.processor.tokenizer
        texts = [text for turns in conversations for prompt, answer in turns for text in (prompt, answer + "<eos>")]
        pieces = iter(tokenizer(texts, add_special_tokens=False)["input_ids"])
        rows = [
            self._row([(next(pieces), next(pieces)) for _ in turns], picture)
            for picture, turns in zip(pictures, conversations, strict=True)
        ]
        pad = nn.utils.rnn.pad_sequence
        ids, labels, positions, owners, weights, points = (
            pad([row[k] for row in rows], batch_first=True, padding_value=fill)
            for k, fill in enumerate((tokenizer.pad_token_id, IGNORE, 0, -1, 0, 0))
        )
        return {
            "input_ids": ids,
            "attention_mask": _sees(owners),
            "position_ids": positions,
            "labels": labels,
            "weights": weights,
            "points": points,
        }

    def _pixels(self, images: np.ndarray) -> torch.Tensor:
        """Convert uint8 ``[B, H, W, 3]`` of the model's own size to normalised floats in the family's layout."""
        found = pixels(images, self.processor.image_processor)
        return found[:, None] if self.family.layout == "tiles" else found

    def _row(self, turns: Sequence[tuple[list[int], list[int]]], picture: Picture) -> tuple[torch.Tensor, ...]:
        """Return tokens, labels, positions, turn numbers (0 for the image), weights and squares of one image."""
        ids, labels = list(self.prefix), [IGNORE] * len(self.prefix)
        positions, owners, weights = list(range(len(ids))), [0] * len(ids), [0.0] * len(ids)
        places = picture.places
        points = [np.zeros((len(ids), places.shape[1]), np.float32)]
        words = self.processor.tokenizer.convert_ids_to_tokens
        for number, (prompt, answer) in enumerate(turns, 1):
            fresh = [*prompt, *self.bridge, *answer]
            ids += fresh
            labels += [IGNORE] * (len(fresh) - len(answer)) + answer
            positions += range(len(self.prefix), len(self.prefix) + len(fresh))
            owners += [number] * len(fresh)
            # In a plain mean over tokens, one-word answers to questions would hardly count beside the lists.
            weights += [len(answer) ** -0.5] * len(fresh)
            spoken = spoken_of(words(prompt), words(answer), picture.kinds)
            at = np.zeros((len(fresh), places.shape[1]), np.float32)
            for place, each in enumerate(spoken, len(fresh) - len(answer)):
                at[place] = places[each].max(0, initial=0)
            points.append(at)
        rows = (ids, labels, positions, owners, weights, np.concatenate(points))
        return tuple(torch.as_tensor(each) for each in rows)


def _frame(processor: Any, family: Family) -> tuple[list[int], list[int]]:
    """Return the tokens that the processor puts before (the image's among them) and after a prompt."""
    from pcvr.models.vlm import VisionLanguageModel

    asking = VisionLanguageModel("", None, processor, family)
    ids = asking.prepare([np.zeros((SIZE_PX, SIZE_PX, 3), np.uint8)], ["no"])["input_ids"][0].tolist()
    at = ids.index(processor.tokenizer.convert_tokens_to_ids("no"))
    return ids[:at], ids[at + 1 :]


def _sees(owners: torch.Tensor) -> torch.Tensor:
    """Return the additive attention mask ``[B, 1, T, T]``: 0 where a token attends, else -10,000.

    A token attends to earlier tokens of the same turn and of the image's part (turn 0).
    """
    same = owners[:, :, None] == owners[:, None, :]  # [B, T, T]; true for padding too, whose rows must not be empty
    picture = (owners == 0)[:, None, :]
    earlier = torch.ones(owners.shape[1], owners.shape[1], dtype=torch.bool).tril()
    sees = (same | picture) & earlier
    return torch.zeros(sees.shape).masked_fill(~sees, -1e4)[:, None]


def pixels(images: np.ndarray, image_processor: Any) -> torch.Tensor:
    """Convert uint8 ``[B, H, W, 3]`` of the model's own size to normalised float ``[B, 3, H, W]``."""
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in (image_processor.image_mean, image_processor.image_std))
    return (torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255 - mean) / std
