"""The frozen vision tower: its features can be kept, and a model can be fed features instead of pictures."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from pcvr.models.load import VisionLanguageModel


class _EveryLayer:
    """Stands in for the tuple of hidden states: whichever layer is asked for is the one that was kept."""

    def __init__(self, features: Tensor) -> None:
        self.features = features

    def __getitem__(self, _layer: int) -> Tensor:
        return self.features


class FeatureTower(nn.Module):
    """A tower that also takes its own features: ``[B, tokens, width]`` pass through, pictures are read.

    The model's own forward code runs unchanged either way, so no family needs a second forward pass written for it.
    """

    def __init__(self, tower: nn.Module, layer: int) -> None:
        super().__init__()
        self.tower, self.layer = tower, layer

    def forward(self, pixel_values: Tensor, **kwargs: Any) -> Any:
        from transformers.modeling_outputs import BaseModelOutputWithPooling

        if pixel_values.dim() != 3:
            return self.tower(pixel_values, **kwargs)
        return BaseModelOutputWithPooling(
            last_hidden_state=pixel_values,
            hidden_states=_EveryLayer(pixel_values),
        )

    @torch.no_grad()
    def features(self, pixels: Tensor) -> Tensor:
        """Pictures ``[B, 3, H, W]`` -> the layer that the connector reads, ``[B, tokens, width]``."""
        output = self.tower(pixels, output_hidden_states=True, return_dict=True)
        kept: Tensor = output.hidden_states[self.layer]
        return kept


def tower_features(vlm: VisionLanguageModel, pixels: Tensor) -> Tensor:
    """What the tower of `vlm` makes of pictures ``[B, 3, H, W]``: ``[B, tokens, width]``, without gradient."""
    tower = vlm.family.part(vlm.model, "tower")
    wrapped = tower if isinstance(tower, FeatureTower) else FeatureTower(tower, _layer(vlm))
    return wrapped.features(pixels.to(vlm.device, _dtype(tower)))


@contextmanager
def feature_tower(vlm: VisionLanguageModel) -> Iterator[FeatureTower]:
    """Inside the block the model's tower takes features as well as pictures; afterwards it is as it was."""
    parent_path, _, leaf = vlm.family.tower.rpartition(".")
    parent = vlm.base.get_submodule(parent_path)
    tower = getattr(parent, leaf)
    wrapped = FeatureTower(tower, _layer(vlm))
    setattr(parent, leaf, wrapped)
    try:
        yield wrapped
    finally:
        setattr(parent, leaf, tower)


def _layer(vlm: VisionLanguageModel) -> int:
    layer: int = vlm.model.config.vision_feature_layer
    return layer


def _dtype(module: nn.Module) -> torch.dtype:
    return next(module.parameters()).dtype
