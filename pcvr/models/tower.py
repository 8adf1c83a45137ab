"""The frozen vision tower: its features can be kept, and a model can be fed features instead of pictures."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from pcvr.models.vlm import VisionLanguageModel


class _KeptLayers:
    """Stands in for the tuple of hidden states: has those layers that were kept, side by side in `features`."""

    def __init__(self, features: Tensor, layers: Sequence[int]) -> None:
        self.layers = dict(zip(layers, features.chunk(len(layers), -1), strict=True))

    def __getitem__(self, layer: int) -> Tensor:
        return self.layers[layer]


class _FedTower(nn.Module):
    """Stands in for a tower: whatever it is shown, it gives the features it was made with.

    The model's own forward code runs unchanged around it, so no family needs a second forward pass written for it.
    """

    def __init__(self, features: Tensor, layers: Sequence[int]) -> None:
        super().__init__()
        self.features, self.layers = features, layers

    def forward(self, *_: Any, **__: Any) -> Any:
        from transformers.modeling_outputs import BaseModelOutputWithPooling

        hidden = _KeptLayers(self.features, self.layers) if self.layers else None
        return BaseModelOutputWithPooling(last_hidden_state=self.features, hidden_states=hidden)


def _layers(vlm: VisionLanguageModel) -> list[int]:
    """The tower's layers that the connector reads; none where it reads what the tower gives in the end."""
    layer = getattr(vlm.model.config, "vision_feature_layer", None)
    return [] if layer is None else [layer] if isinstance(layer, int) else list(layer)


@torch.no_grad()
def tower_features(vlm: VisionLanguageModel, pixels: Tensor) -> Tensor:
    """What the connector of `vlm` gets to read, without gradient.

    Args:
        vlm: the model; its tower takes pictures of one size.
        pixels: ``[B, 3, H, W]``, or ``[B, tiles, 3, H, W]``.

    Returns:
        ``[B, tokens, width]``, or ``[B, tiles, tokens, width]``; where the connector reads several layers, their
        features lie side by side.
    """
    tower = vlm.family.part(vlm.model, "tower")
    flat = pixels.flatten(0, -4).to(vlm.device, next(tower.parameters()).dtype)
    layers = _layers(vlm)
    output = tower(flat, output_hidden_states=bool(layers), return_dict=True)
    features = torch.cat([output.hidden_states[each] for each in layers], -1) if layers else output.last_hidden_state
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
    setattr(parent, leaf, _FedTower(features.flatten(0, -3), _layers(vlm)))
    try:
        yield blank
    finally:
        setattr(parent, leaf, tower)
