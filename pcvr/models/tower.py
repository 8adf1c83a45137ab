"""The frozen vision tower: its features can be kept, and a model can be fed features instead of pictures."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from pcvr.models.vlm import VisionLanguageModel


class _EveryLayer:
    """Stands in for the tuple of hidden states: whichever layer is asked for is the one that was kept."""

    def __init__(self, features: Tensor) -> None:
        self.features = features

    def __getitem__(self, _layer: int) -> Tensor:
        return self.features


class _FedTower(nn.Module):
    """Stands in for a tower: whatever it is shown, it gives the features it was made with.

    The model's own forward code runs unchanged around it, so no family needs a second forward pass written for it.
    """

    def __init__(self, features: Tensor) -> None:
        super().__init__()
        self.features = features

    def forward(self, *_: Any, **__: Any) -> Any:
        from transformers.modeling_outputs import BaseModelOutputWithPooling

        return BaseModelOutputWithPooling(last_hidden_state=self.features, hidden_states=_EveryLayer(self.features))


@torch.no_grad()
def tower_features(vlm: VisionLanguageModel, pixels: Tensor) -> Tensor:
    """What the connector of `vlm` gets to read, without gradient.

    Args:
        vlm: the model; its tower takes pictures of one size.
        pixels: ``[B, 3, H, W]``, or ``[B, tiles, 3, H, W]``.

    Returns:
        ``[B, tokens, width]``, or ``[B, tiles, tokens, width]``.
    """
    tower = vlm.family.part(vlm.model, "tower")
    flat = pixels.flatten(0, -4).to(vlm.device, next(tower.parameters()).dtype)
    layer = getattr(vlm.model.config, "vision_feature_layer", None)
    output = tower(flat, output_hidden_states=layer is not None, return_dict=True)
    features: Tensor = output.last_hidden_state if layer is None else output.hidden_states[layer]
    return features.view(*pixels.shape[:-3], *features.shape[1:])


@contextmanager
def fed_tower(vlm: VisionLanguageModel, features: Tensor) -> Iterator[Tensor]:
    """Inside the block the model's tower gives `features`, as `tower_features` made them; afterwards it is as it was.

    Yields:
        Blank ``pixel_values`` to call the model with: it wants to see some.
    """
    parent_path, _, leaf = vlm.family.tower.rpartition(".")
    parent = vlm.base.get_submodule(parent_path)
    tower = getattr(parent, leaf)
    size = vlm.model.config.vision_config.image_size
    blank = features.new_ones(*features.shape[:-2], 3, size, size)
    setattr(parent, leaf, _FedTower(features.flatten(0, -3)))
    try:
        yield blank
    finally:
        setattr(parent, leaf, tower)
