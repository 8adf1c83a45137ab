"""Attention of a model during a forward pass: written out, averaged over some tokens, or masked at some tokens."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from pcvr.errors import PcvrError

if TYPE_CHECKING:
    from pcvr.models.vlm import VisionLanguageModel


@contextmanager
def eager_attention(model: Any) -> Iterator[None]:
    """Compute attention step by step inside the block, in `model` or its language model.

    The fused kernels that models are loaded with return no attention weights, and their backward pass is slow on a CPU.
    """
    config = model.config
    parts = {key: getattr(config, key, None) for key in config.sub_configs}
    before = {key: getattr(part, "_attn_implementation", None) for key, part in parts.items()}
    before = {key: name for key, name in before.items() if name is not None}  # parts without attention of their own
    before[""] = config._attn_implementation
    model.set_attn_implementation("eager")
    try:
        yield
    finally:
        model.set_attn_implementation(before)


@contextmanager
def mean_attention(vlm: VisionLanguageModel, between: tuple[float, float], looking: Tensor) -> Iterator[list[Tensor]]:
    """Collect the mean attention of some tokens in the middle layers during one forward pass inside the block.

    Args:
        vlm: the model.
        between: layer l of L is a middle layer if ``(l + 1/2) / L`` is between these.
        looking: bool ``[N, T]``, the tokens whose attention is averaged.

    Yields:
        A list that gets ``[N, heads, T]`` for each middle layer.
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


class SplitBatch(PcvrError):
    """`without_tokens` got other prompts than the model is called with."""


@contextmanager
def without_tokens(vlm: VisionLanguageModel, pruned: Tensor) -> Iterator[None]:
    """Mask the tokens of `pruned` in every layer inside the block: no token attends to them.

    Args:
        vlm: the model; call it with exactly these N prompts, in one batch.
        pruned: bool ``[N, T]`` over the left-padded prompts.

    Raises:
        SplitBatch: the model is called with another batch.
        PcvrError: its language model takes no 2D attention mask.
    """
    speaker = vlm.family.part(vlm.model, "language_model")

    def mask(_module: Any, args: Any, kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        given = _token_mask(kwargs)
        if given.dim() != 2:
            raise PcvrError(
                f"the language model of {vlm.name!r} gets a {given.dim()}D attention mask, so no token can be "
                "masked: take another model."
            )
        if len(given) != len(pruned) or given.shape[1] < pruned.shape[1]:
            raise SplitBatch(
                f"{len(pruned)} prompts of {pruned.shape[1]} tokens were scored, and a batch of {tuple(given.shape)} "
                "came: generate must take them in one batch."
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
    """Return the mask ``[N, tokens so far]`` of a language model's call; without one there is no padding."""
    given: Tensor | None = kwargs.get("attention_mask")
    if given is not None:
        return given
    embeds, cache = kwargs.get("inputs_embeds"), kwargs.get("past_key_values")
    fresh: Tensor = kwargs["input_ids"] if embeds is None else embeds[..., 0]
    past = 0 if cache is None else cache.get_seq_length()
    return torch.ones(len(fresh), past + fresh.shape[1], dtype=torch.long, device=fresh.device)
