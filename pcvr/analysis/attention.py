"""Where a model looks: the attention of answer tokens to the image, for every family, as maps over the image."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from pcvr.analysis.decoding import Steps, own_answer, read_along, steps_of
from pcvr.data.sample import Image
from pcvr.errors import PcvrError
from pcvr.models.attention_hooks import eager_attention
from pcvr.models.encode import IGNORE, Batch, collate, model_inputs
from pcvr.models.picture_tokens import merge_of, side_of
from pcvr.models.pictures import to_pictures
from pcvr.models.tower import tower_grid
from pcvr.tasks.caption import PROMPT as CAPTION_PROMPT
from pcvr.utils.checks import check_choice

if TYPE_CHECKING:
    from pcvr.models.vlm import VisionLanguageModel

HOWS = ("mean", "rollout")
"""How layers and heads are combined: the mean of the chosen ones, or attention rollout through all of them."""
PARTS = ("image", "prompt", "answer so far")


@dataclass(frozen=True)
class Attention:
    """The attention of one model while it read an image, a prompt and an answer of A tokens; T tokens in all.

    The row of an answer token is that of the position that *predicts* it, the one before it.

    Attributes:
        steps: the answer with its probabilities.
        tokens: all T tokens as words.
        answer_at: positions of the A answer tokens.
        image_at: ``[I]``, positions of the tokens that show the whole image (without tiles).
        is_image: bool ``[T]``, whether a token stands for a part of the image.
        rows: float32 ``[L, H, A, T]``: by layer and head, the attention of each answer token to the T tokens.
        mean: float32 ``[L, T, T]``: every row, averaged over the heads.
        grid: cells of a map over the image, down and across.
        look: float32 ``[I, cells]``, where in the image each image token was read from, for families whose tokens
            have no place (the Q-Former's cross-attention, mean over its layers and heads); else None.
        image: uint8 ``[H, W, 3]``, as the tower gets it.
    """

    steps: Steps
    tokens: tuple[str, ...]
    answer_at: tuple[int, ...]
    image_at: np.ndarray
    is_image: np.ndarray
    rows: np.ndarray
    mean: np.ndarray
    grid: tuple[int, int]
    look: np.ndarray | None
    image: Image

    def weights(self, token: int, layer: int | None = None, head: int | None = None, how: str = "mean") -> np.ndarray:
        """Return the attention of one answer token to all T tokens: ``[T]``, sum 1.

        Args:
            token: position in the answer, 0 to A - 1.
            layer: one layer from 0, or None for all.
            head: one head from 0, or None for all.
            how: one of `HOWS`; ``"rollout"`` runs through all layers and heads, so both must be None.

        Raises:
            PcvrError: there is no such token, layer or head, or `how` is unknown.
        """
        for name, given, size in (
            ("token", token, self.rows.shape[2]),
            ("layer", layer, self.rows.shape[0]),
            ("head", head, self.rows.shape[1]),
        ):
            if given is not None and not 0 <= given < size:
                raise PcvrError(f"{name} {given} does not exist: give 0 to {size - 1}.")
        check_choice("how", how, HOWS)
        if how == "rollout":
            if layer is not None or head is not None:
                raise PcvrError("rollout runs through all layers and heads: leave layer and head out, or take 'mean'.")
            return rollout(self.mean)[self.answer_at[token] - 1]
        chosen = self.rows[:, :, token] if layer is None else self.rows[[layer], :, token]  # [layers, H, T]
        return np.asarray((chosen if head is None else chosen[:, [head]]).mean((0, 1)))

    def map(self, token: int, layer: int | None = None, head: int | None = None, how: str = "mean") -> np.ndarray:
        """Return the attention of one answer token as a map over the image: ``[down, across]``, arguments as in
        `weights`.

        Its sum is the fraction of the attention on these cells: most of it may fall on words. Image tokens without a
        place pass their weight on to the patches from which they were read.
        """
        found = self.weights(token, layer, head, how)[self.image_at]
        placed = found if self.look is None else found @ self.look
        return placed.reshape(self.grid)

    def parts(
        self, token: int, layer: int | None = None, head: int | None = None, how: str = "mean"
    ) -> dict[str, float]:
        """Return the fractions of an answer token's attention on image, prompt and answer so far; they sum to 1."""
        found = self.weights(token, layer, head, how)
        answer = np.arange(len(found)) >= self.answer_at[0]
        kinds = (self.is_image, ~self.is_image & ~answer, answer)
        return {part: float(found[kind].sum()) for part, kind in zip(PARTS, kinds, strict=True)}


def attend(vlm: VisionLanguageModel, image: Image, prompt: str, answer: str | None = None) -> Attention:
    """Let `vlm` read an image, a prompt and an answer, and record its attention.

    Arguments and errors as of `pcvr.analysis.decoding.decode_steps`.

    Raises:
        PcvrError: also if the image tokens do not form a map.
    """
    text = own_answer(vlm, image, prompt) if answer is None else answer
    row = read_along(vlm, image, prompt, text)
    shown = vlm.image_at(row["input_ids"]).numpy()
    inputs = model_inputs(vlm, collate([row], vlm.tokenizer.pad_token_id))
    with torch.inference_mode(), eager_attention(vlm.base), _cross_attention(vlm) as crossed:
        output = vlm.model(**inputs, output_attentions=True, use_cache=False)
    layers = torch.stack([each[0].float() for each in _attentions(output)])  # [L, H, T, T]
    at = (row["labels"] != IGNORE).nonzero()[:, 0]
    grid, look = _grid(vlm, row, bool(crossed)), _look(crossed, tower_grid(vlm) if crossed else None)
    return Attention(
        steps=steps_of(vlm, prompt, text, row["input_ids"][at].tolist(), output.logits[0, at.to(vlm.device) - 1]),
        tokens=tuple(vlm.tokenizer.convert_ids_to_tokens(row["input_ids"].tolist())),
        answer_at=tuple(at.tolist()),
        image_at=_whole_image(vlm, np.flatnonzero(shown), grid, look),
        is_image=shown,
        rows=layers[:, :, at.to(vlm.device) - 1].cpu().numpy(),
        mean=layers.mean(1).cpu().numpy(),
        grid=grid,
        look=look,
        image=to_pictures(vlm, [row])[0],
    )


def rollout(layers: np.ndarray) -> np.ndarray:
    """Compute attention rollout: how much of each input position flows into each position of the last layer.

    ``R = A'_L ... A'_1`` with ``A'_l = (A_l + I) / 2``, where the identity is the residual connection
    (Abnar and Zuidema, arXiv 2005.00928, section 3; heads are averaged first, as there).

    Args:
        layers: ``[L, T, T]``, each row sums to 1; the first layer first.

    Returns:
        ``[T, T]``, each row sums to 1.
    """
    flow = np.eye(layers.shape[-1])
    for layer in layers:
        flow = (layer + np.eye(len(layer))) / 2 @ flow
    return flow


def query_maps(vlm: VisionLanguageModel, image: Image, prompt: str = CAPTION_PROMPT) -> np.ndarray:
    """Return where each query of a Q-Former looks: ``[layers, heads, queries, down, across]``.

    Attention to the tower's class token, which has no place, is left out, so a map sums to less than 1. Only the
    queries of InstructBLIP read the prompt too.

    Raises:
        PcvrError: the model has no Q-Former.
    """
    inputs = vlm.encode([image], [prompt])
    with torch.inference_mode(), eager_attention(vlm.base), _cross_attention(vlm) as crossed:
        vlm.model(**inputs, use_cache=False)
    if not crossed:
        raise PcvrError(f"{vlm.name!r} ({vlm.family.model_type}) has no Q-Former: give a model of BLIP-2's kind.")
    down, across = tower_grid(vlm)
    stacked = torch.stack(crossed)[..., -down * across :]
    return stacked.reshape(*stacked.shape[:-1], down, across).cpu().numpy()


@contextmanager
def _cross_attention(vlm: VisionLanguageModel) -> Iterator[list[Tensor]]:
    """Collect the cross-attention ``[H, queries, tower tokens]`` of each layer of a Q-Former while the model runs."""
    found: list[Tensor] = []

    def keep(_module: Any, _inputs: Any, output: Any) -> None:
        found.append(output[1][0].float())

    readers = [part for name, part in vlm.base.named_modules() if name.endswith("crossattention.attention")]
    with ExitStack() as hooks:
        for part in readers:
            hooks.callback(part.register_forward_hook(keep).remove)
        yield found


def _attentions(output: Any) -> Any:
    """Return the attention of the language model, which BLIP-2 nests in its language model's output."""
    inner = getattr(output, "language_model_outputs", None)
    return output.attentions if inner is None else inner.attentions


def _look(crossed: list[Tensor], grid: tuple[int, int] | None) -> np.ndarray | None:
    if grid is None:
        return None
    return torch.stack(crossed).mean((0, 1))[:, -grid[0] * grid[1] :].cpu().numpy()


def _grid(vlm: VisionLanguageModel, row: Batch, crossed: bool) -> tuple[int, int]:
    """Return the cells of a map: the tower's patches, or the connector's blocks of them."""
    if vlm.family.layout == "patches":
        merge = vlm.processor.image_processor.merge_size
        _, down, across = (int(v) for v in row["image_grid_thw"][0])
        return down // merge, across // merge
    merge = 1 if crossed else merge_of(vlm.base.config)
    if vlm.family.layout == "sized":
        cell = merge * side_of(vlm.base.config.vision_config.patch_size)
        down, across = (int(v) // cell for v in row["image_sizes"])
        return down, across
    down, across = tower_grid(vlm)
    return down // merge, across // merge


def _whole_image(
    vlm: VisionLanguageModel, at: np.ndarray, grid: tuple[int, int], look: np.ndarray | None
) -> np.ndarray:
    """Return the positions of the image tokens that show the whole image, without those of tiles."""
    count = grid[0] * grid[1] if look is None else len(look)
    if len(at) < count:
        raise PcvrError(
            f"{vlm.name!r} has {len(at)} image tokens where a map of {grid[0]} by {grid[1]} needs {count}: "
            "its tokens do not form a map of the image."
        )
    return at[:count] if vlm.family.overview == 0 else at[-count:]
