"""Where a model looks: the attention of answer tokens to the picture, for every family, laid out as maps over it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from pcvr.analysis.decoding import Steps, own_answer, read_along, steps_of
from pcvr.data.sample import Image
from pcvr.errors import PcvrError
from pcvr.models.attention_hooks import eager_attention
from pcvr.models.encode import IGNORE, Batch, collate
from pcvr.models.pictures import to_pictures
from pcvr.models.tower import tower_grid
from pcvr.models.vocab import is_image
from pcvr.tasks.caption import PROMPT as CAPTION_PROMPT
from pcvr.utils.checks import check_choice

if TYPE_CHECKING:
    from pcvr.models.vlm import VisionLanguageModel

HOWS = ("mean", "rollout")
"""Over what an attention row is taken: the mean of the chosen layers and heads, or attention rollout through all."""
PARTS = ("picture", "prompt", "answer so far")


@dataclass(frozen=True)
class Attention:
    """What one model attended to as it read a picture, a prompt and an answer of A tokens; T tokens in all.

    The row of an answer token is that of the position from which it is *predicted*, the one before it.

    Attributes:
        steps: the answer with its probabilities.
        tokens: all T tokens as words.
        answer_at: positions of the A answer tokens.
        picture_at: ``[I]``, positions of the tokens that show the whole picture (without the tiles that some add).
        is_image: bool ``[T]``, every token that stands for some part of the picture.
        rows: float32 ``[L, H, A, T]``: by layer and head, how the row of each answer token is spread over the T tokens.
        mean: float32 ``[L, T, T]``: every row, averaged over heads.
        grid: cells of a map over the picture, down and across.
        look: float32 ``[I, cells]``, where in the picture each image token was read from, for families whose tokens
            have no place of their own (the Q-Former's cross-attention, mean over its layers and heads); else None.
        picture: uint8 ``[H, W, 3]``, as the tower gets it.
    """

    steps: Steps
    tokens: tuple[str, ...]
    answer_at: tuple[int, ...]
    picture_at: np.ndarray
    is_image: np.ndarray
    rows: np.ndarray
    mean: np.ndarray
    grid: tuple[int, int]
    look: np.ndarray | None
    picture: Image

    def weights(self, token: int, layer: int | None = None, head: int | None = None, how: str = "mean") -> np.ndarray:
        """How the row of one answer token is spread over all T tokens: ``[T]``, sum 1.

        Args:
            token: position in the answer, 0 to A - 1.
            layer: one layer from 0, or None for all.
            head: one head from 0, or None for all.
            how: one of `HOWS`; ``"rollout"`` runs through all layers and heads, so both must be None.

        Raises:
            PcvrError: a token, layer or head that there is not, or an unknown `how`.
        """
        for name, given, size in (
            ("token", token, self.rows.shape[2]),
            ("layer", layer, self.rows.shape[0]),
            ("head", head, self.rows.shape[1]),
        ):
            if given is not None and not 0 <= given < size:
                raise PcvrError(f"{name} {given} is not there: give 0 to {size - 1}.")
        check_choice("how", how, HOWS)
        if how == "rollout":
            if layer is not None or head is not None:
                raise PcvrError("rollout runs through all layers and heads: leave layer and head out, or take 'mean'.")
            return rollout(self.mean)[self.answer_at[token] - 1]
        chosen = self.rows[:, :, token] if layer is None else self.rows[[layer], :, token]  # [layers, H, T]
        return np.asarray((chosen if head is None else chosen[:, [head]]).mean((0, 1)))

    def map(self, token: int, layer: int | None = None, head: int | None = None, how: str = "mean") -> np.ndarray:
        """The attention of one answer token laid over the picture: ``[down, across]``, arguments as in `weights`.

        Its sum is the share of the attention that falls on these cells: most of it may lie on words. Where image tokens
        have no place, their weights are carried on to the patches that each was read from.
        """
        found = self.weights(token, layer, head, how)[self.picture_at]
        placed = found if self.look is None else found @ self.look
        return placed.reshape(self.grid)

    def parts(
        self, token: int, layer: int | None = None, head: int | None = None, how: str = "mean"
    ) -> dict[str, float]:
        """The shares of an answer token's attention on picture, prompt and answer so far; they sum to 1."""
        found = self.weights(token, layer, head, how)
        behind = np.arange(len(found)) >= self.answer_at[0]
        kinds = (self.is_image, ~self.is_image & ~behind, behind)
        return {part: float(found[kind].sum()) for part, kind in zip(PARTS, kinds, strict=True)}


def attend(vlm: VisionLanguageModel, image: Image, prompt: str, answer: str | None = None) -> Attention:
    """Let `vlm` read a picture, a prompt and an answer, and keep all that it attends to.

    Args:
        vlm: the model.
        image: uint8 ``[H, W, 3]``.
        prompt: what is asked.
        answer: the text that is read along; None takes the model's own greedy answer.

    Raises:
        PcvrError: prompt or answer hold the token that stands for a picture, or the tokens do not form a map.
    """
    text = own_answer(vlm, image, prompt) if answer is None else answer
    row = read_along(vlm, image, prompt, text)
    batch = collate([row], vlm.tokenizer.pad_token_id)
    inputs = {k: v.to(vlm.device) for k, v in batch.items() if k != "labels"}
    with torch.inference_mode(), eager_attention(vlm.base), _cross_attention(vlm) as crossed:
        output = vlm.model(**inputs, output_attentions=True, use_cache=False)
    layers = torch.stack([each[0].float() for each in _attentions(output)])  # [L, H, T, T]
    told = row["labels"] != IGNORE
    at = told.nonzero()[:, 0]
    shown = is_image(vlm, row["input_ids"])
    grid, look = _grid(vlm, row, bool(crossed)), _look(crossed, tower_grid(vlm) if crossed else None)
    return Attention(
        steps=steps_of(vlm, prompt, text, row["input_ids"][at].tolist(), output.logits[0, at.to(vlm.device) - 1]),
        tokens=tuple(vlm.tokenizer.convert_ids_to_tokens(row["input_ids"].tolist())),
        answer_at=tuple(at.tolist()),
        picture_at=_whole_picture(vlm, np.flatnonzero(shown), grid, look),
        is_image=shown,
        rows=layers[:, :, at.to(vlm.device) - 1].cpu().numpy(),
        mean=layers.mean(1).cpu().numpy(),
        grid=grid,
        look=look,
        picture=to_pictures(vlm, [row])[0],
    )


def rollout(layers: np.ndarray) -> np.ndarray:
    """Attention rollout: how much of each input position flows into each position of the last layer.

    ``R = A'_L ... A'_1`` with ``A'_l = (A_l + I) / 2``, the half that the residual connection carries past a layer
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
    """Where each query of a Q-Former looks: ``[layers, heads, queries, down, across]``.

    What falls on the tower's class token, which has no place, is left out: a map sums to 1 less that. Only
    InstructBLIP's queries read the prompt too.

    Raises:
        PcvrError: the model has no Q-Former.
    """
    inputs = vlm.encode([image], [prompt])
    with torch.inference_mode(), eager_attention(vlm.base), _cross_attention(vlm) as crossed:
        vlm.model(**inputs, use_cache=False)
    if not crossed:
        raise PcvrError(f"{vlm.name!r} ({vlm.family.model_type}) has no Q-Former: query_maps is for BLIP-2's kind.")
    down, across = tower_grid(vlm)
    stacked = torch.stack(crossed)[..., -down * across :]
    return stacked.reshape(*stacked.shape[:-1], down, across).cpu().numpy()


@contextmanager
def _cross_attention(vlm: VisionLanguageModel) -> Iterator[list[Tensor]]:
    """Collects the cross-attention ``[H, queries, tower tokens]`` of each layer of a Q-Former while the model runs."""
    found: list[Tensor] = []

    def keep(_module: Any, _inputs: Any, output: Any) -> None:
        found.append(output[1][0].float())

    readers = [part for name, part in vlm.base.named_modules() if name.endswith("crossattention.attention")]
    hooks = [part.register_forward_hook(keep) for part in readers]
    try:
        yield found
    finally:
        for hook in hooks:
            hook.remove()


def _attentions(output: Any) -> Any:
    """Those of the language model; BLIP-2 hands them on inside its language model's output."""
    inner = getattr(output, "language_model_outputs", None)
    return output.attentions if inner is None else inner.attentions


def _look(crossed: list[Tensor], grid: tuple[int, int] | None) -> np.ndarray | None:
    if grid is None:
        return None
    return torch.stack(crossed).mean((0, 1))[:, -grid[0] * grid[1] :].cpu().numpy()


def _grid(vlm: VisionLanguageModel, row: Batch, crossed: bool) -> tuple[int, int]:
    """Cells of a map: the tower's patches, or what the connector makes of so many by so many of them."""
    if vlm.family.layout == "patches":
        merge = vlm.processor.image_processor.merge_size
        _, down, across = (int(v) for v in row["image_grid_thw"][0])
        return down // merge, across // merge
    down, across = tower_grid(vlm)
    merge = 1 if crossed else getattr(vlm.base.config, "scale_factor", 1)
    return down // merge, across // merge


def _whole_picture(
    vlm: VisionLanguageModel, at: np.ndarray, grid: tuple[int, int], look: np.ndarray | None
) -> np.ndarray:
    """Of the image tokens' positions those that show the whole picture; where there are tiles, others stand beside."""
    count = grid[0] * grid[1] if look is None else len(look)
    if len(at) < count:
        raise PcvrError(
            f"{vlm.name!r} has {len(at)} image tokens where a map of {grid[0]} by {grid[1]} needs {count}: "
            "its tokens cannot be laid over the picture."
        )
    return at[:count] if vlm.family.overview == 0 else at[-count:]
