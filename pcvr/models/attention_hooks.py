"""The language model's attention while it reads a prompt: collected in some layers, and kept off some tokens."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from pcvr.errors import PcvrError

if TYPE_CHECKING:
    from pcvr.models.vlm import VisionLanguageModel


class SplitBatch(PcvrError):
    """`without_tokens` was given other prompts than the model is called with."""


@contextmanager
def mean_attention(vlm: VisionLanguageModel, between: tuple[float, float], looking: Tensor) -> Iterator[list[Tensor]]:
    """Collects what some tokens attend to, on average: ``[N, heads, T]`` for each middle layer, as the model runs once.

    Attention is written out inside the block, as the fused kernels hand none out; afterwards all is as it was.

    Args:
        vlm: the model.
        between: layer l of L counts where ``(l + 1/2) / L`` lies between these.
        looking: bool ``[N, T]``, the tokens whose attention is averaged.
    """
    speaker: Any = vlm.family.part(vlm.model, "language_model")
    layers = [part for name, part in speaker.named_modules() if name.endswith("self_attn")]
    part_of = looking / looking.sum(1, keepdim=True).clamp_min(1)
    found: list[Tensor] = []

    def keep(_module: Any, _inputs: Any, output: Any) -> None:
        if isinstance(output, tuple) and len(output) > 1 and output[1] is not None:
            found.append(torch.einsum("nhqk,nq->nhk", output[1].float(), part_of))

    with ExitStack() as stack:
        stack.enter_context(eager_attention(speaker))
        for place, layer in enumerate(layers):
            if between[0] <= (place + 0.5) / len(layers) <= between[1]:
                stack.callback(layer.register_forward_hook(keep).remove)
        yield found


@contextmanager
def without_tokens(vlm: VisionLanguageModel, pruned: Tensor) -> Iterator[None]:
    """Inside the block no token attends to those of `pruned`, in no layer, while a prompt is read and answered.

    Args:
        vlm: the model; it must be called with exactly these N prompts, in one batch.
        pruned: bool ``[N, T]`` over the left-padded prompts.

    Raises:
        SplitBatch: it is called with another batch.
        PcvrError: its language model takes no mask of tokens.
    """
    speaker = vlm.family.part(vlm.model, "language_model")

    def mask(_module: Any, args: Any, kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        given = _token_mask(kwargs)
        if given.dim() != 2:
            raise PcvrError(f"the language model of {vlm.name!r} takes no mask of tokens, so none can be cut off.")
        if len(given) != len(pruned) or given.shape[1] < pruned.shape[1]:
            raise SplitBatch(
                f"{len(pruned)} prompts of {pruned.shape[1]} tokens were looked at and {tuple(given.shape)} came: "
                "generate must take them in one batch."
            )
        seen = given.clone()
        seen[:, : pruned.shape[1]][pruned.to(seen.device)] = 0
        return args, kwargs | {"attention_mask": seen}

    hook = speaker.register_forward_pre_hook(mask, with_kwargs=True)
    try:
        yield
    finally:
        hook.remove()


def _token_mask(kwargs: Mapping[str, Any]) -> Tensor:
    """The mask ``[N, tokens so far]`` that a language model is called with; where it gets none there is no padding."""
    given: Tensor | None = kwargs.get("attention_mask")
    if given is not None:
        return given
    embeds, cache = kwargs.get("inputs_embeds"), kwargs.get("past_key_values")
    fresh: Tensor = kwargs["input_ids"] if embeds is None else embeds[..., 0]
    past = 0 if cache is None else cache.get_seq_length()
    return torch.ones(len(fresh), past + fresh.shape[1], dtype=torch.long, device=fresh.device)


@contextmanager
def eager_attention(model: Any) -> Iterator[None]:
    """Inside the block `model` (whole or its language model) computes attention step by step; then all is as it was.

    The fused kernel that models are loaded with hands no attention out, and on a CPU its backward pass is slow.
    """
    config = model.config
    parts = {key: getattr(config, key, None) for key in config.sub_configs}
    before = {key: part._attn_implementation for key, part in parts.items() if part is not None}
    before[""] = config._attn_implementation
    model.set_attn_implementation("eager")
    try:
        yield
    finally:
        model.set_attn_implementation(before)


def tower_grid(vlm: VisionLanguageModel) -> tuple[int, int]:
    """Patches that the tower cuts a picture into, down and across.

    Raises:
        PcvrError: the tower takes pictures of any size, so that the number depends on the picture.
    """
    vision = vlm.base.config.vision_config
    if not hasattr(vision, "image_size"):
        raise PcvrError(f"the tower of {vlm.name!r} has no fixed grid: take a model whose pictures have one size.")
    return (vision.image_size // vision.patch_size,) * 2
