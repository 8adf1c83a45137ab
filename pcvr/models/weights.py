"""Checks of loaded weights: complete, of the right shapes, without others, and finite."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

from pcvr.errors import PcvrError, shown
from pcvr.utils import distributed

_NO_WEIGHTS = {"inv_freq", "position_ids"}
"""Tensors that older checkpoints store although they follow from the config."""


def check_loaded(name: str, model: Any, info: Mapping[str, Any]) -> None:
    """Raise unless a checkpoint's weights match the model's architecture.

    Args:
        name: name of the model, for the message.
        model: the loaded model.
        info: second result of ``from_pretrained(..., output_loading_info=True)``; tied weights are not missing there.

    Raises:
        PcvrError: weights are missing (and random), of another shape, unknown to the architecture, or not finite.
    """
    if distributed.sharded() and distributed.rank():
        return  # FSDP may load the weights in the first process only and broadcast them
    computed = {key.rpartition(".")[2] for key, _ in model.named_buffers()} | _NO_WEIGHTS
    unknown = [key for key in info["unexpected_keys"] if key.rpartition(".")[2] not in computed]
    shapes = [key for key, *_ in info["mismatched_keys"]]
    faults = {"missing": info["missing_keys"], "of another shape": shapes, "unknown to the architecture": unknown}
    wrong = "; ".join(f"{what}: {listed(keys)}" for what, keys in faults.items() if keys)
    if wrong:
        raise PcvrError(
            f"the weights of model {shown(name)} are not those that its config.json describes ({wrong}): copy or "
            "download the whole folder again, or correct the config."
        )
    if broken := not_finite(model.named_parameters()):
        raise PcvrError(
            f"model {shown(name)} has weights that are NaN or infinite as {model.dtype} ({listed(broken)}): copy or "
            "download the folder again, or try another dtype."
        )


def not_finite(weights: Iterable[tuple[str, Tensor]]) -> list[str]:
    """Return the names of the weights with a NaN or infinite value."""
    return [name for name, each in weights if each.is_floating_point() and not bool(torch.isfinite(each).all())]


def listed(names: Collection[str]) -> str:
    """Return the first three names as text, and the number of the others."""
    first = sorted(names)[:3]
    return ", ".join(shown(name) for name in first) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
