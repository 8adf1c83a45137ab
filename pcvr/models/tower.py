"""The frozen vision tower: its patch grid, its features, and a forward pass from features instead of images."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from pcvr.errors import PcvrError
from pcvr.models.layout import real_tiles
from pcvr.models.modes import eval_mode
from pcvr.models.picture_tokens import side_of

if TYPE_CHECKING:
    from pcvr.models.vlm import VisionLanguageModel


def tower_grid(vlm: VisionLanguageModel) -> tuple[int, int]:
    """Return the number of patches that the tower cuts an image into, down and across.

    Raises:
        PcvrError: the tower takes images of any size, so that the number depends on the image.
    """
    vision = vlm.base.config.vision_config
    if vlm.family.layout in ("patches", "sized"):
        raise PcvrError(f"the tower of {vlm.name!r} has no fixed grid: take a model whose images have one size.")
    return (side_of(vision.image_size) // side_of(vision.patch_size),) * 2


def keeps_features(vlm: VisionLanguageModel) -> bool:
    """Return whether tower features can stand in for images: the tower takes pixels of one size and nothing else."""
    return vlm.family.layout in ("picture", "tiles") and vlm.family.pack != "list"


class _KeptLayers:
    """Stands in for the tuple of hidden states; it has the layers whose features are concatenated in `features`."""

    def __init__(self, features: Tensor, layers: Sequence[int]) -> None:
        self.layers = dict(zip(layers, features.chunk(len(layers), -1), strict=True))

    def __getitem__(self, layer: int) -> Tensor:
        return self.layers[layer]


class _FedTower(nn.Module):
    """Stands in for a tower: it ignores its input and returns given features.

    The model's own forward code runs around it unchanged, so no family needs forward code here.
    """

    def __init__(self, features: Tensor, layers: Sequence[int]) -> None:
        super().__init__()
        self.features, self.layers = features, layers

    def forward(self, *_: Any, **__: Any) -> Any:
        from transformers.modeling_outputs import BaseModelOutputWithPooling

        hidden = _KeptLayers(self.features, self.layers) if self.layers else None
        return BaseModelOutputWithPooling(last_hidden_state=self.features, hidden_states=hidden)


def _layers(vlm: VisionLanguageModel) -> list[int]:
    """Return the tower's layers that the connector reads; empty if it reads the final output."""
    layer = getattr(vlm.model.config, "vision_feature_layer", None)
    return [] if layer is None else [layer] if isinstance(layer, int) else list(layer)


@torch.no_grad()
def tower_features(vlm: VisionLanguageModel, pixels: Tensor) -> Tensor:
    """Return the tower features that the connector reads, without gradient and without dropout.

    Args:
        vlm: the model; its tower takes images of one size.
        pixels: ``[B, 3, H, W]``, or ``[B, tiles, 3, H, W]``.

    Returns:
        ``[B, tokens, width]``, or ``[B, tiles, tokens, width]``; several layers are concatenated along the width.
    """
    tower = vlm.family.part(vlm.model, "tower")
    flat = pixels.flatten(0, -4).to(vlm.device, next(tower.parameters()).dtype)
    layers = _layers(vlm)
    with eval_mode(tower):  # dropout of an adapter in the tower would draw numbers that belong to the training
        output = tower(flat, output_hidden_states=bool(layers), return_dict=True)
    features = torch.cat([output.hidden_states[each] for each in layers], -1) if layers else output.last_hidden_state
    return features.view(*pixels.shape[:-3], *features.shape[1:])


def with_features(vlm: VisionLanguageModel, batch: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return a batch with the tower's features in place of ``pixel_values``; unchanged where they cannot stand in.

    They cannot where images have packed patches, or tiles that are padding.
    """
    pixels = batch.get("pixel_values")
    if pixels is None or not keeps_features(vlm) or (pixels.dim() == 5 and not real_tiles(pixels).all()):
        return batch
    rest = {name: value for name, value in batch.items() if name != "pixel_values"}
    return rest | {"features": tower_features(vlm, pixels)}


@contextmanager
def fed_tower(vlm: VisionLanguageModel, features: Tensor) -> Iterator[Tensor]:
    """Make the model's tower return `features` (from `tower_features`) inside the block.

    Yields:
        Blank ``pixel_values`` as the model takes them, which its call needs.
    """
    parent_path, _, leaf = vlm.family.tower.rpartition(".")
    parent = vlm.base.get_submodule(parent_path)
    tower = getattr(parent, leaf)
    size = side_of(vlm.model.config.vision_config.image_size)
    count = [features.shape[:-2].numel()] if vlm.family.pack == "row" else features.shape[:-2]
    blank = features.new_ones(*count, 3, size, size)
    setattr(parent, leaf, _FedTower(features.flatten(0, -3), _layers(vlm)))
    try:
        yield blank
    finally:
        setattr(parent, leaf, tower)


@contextmanager
def watched_tower(vlm: VisionLanguageModel) -> Iterator[list[Tensor]]:
    """Collect the features that the tower gives its connector inside the block, one tensor a call, without gradient."""
    layers = _layers(vlm)
    found: list[Tensor] = []

    def keep(_: nn.Module, __: Any, output: Any) -> None:
        hidden = getattr(output, "hidden_states", None)
        if layers and hidden is not None:
            found.append(torch.cat([hidden[each] for each in layers], -1).detach())
        else:
            last = getattr(output, "last_hidden_state", None)
            found.append((output if isinstance(output, Tensor) else output[0] if last is None else last).detach())

    hook = vlm.family.part(vlm.model, "tower").register_forward_hook(keep)
    try:
        yield found
    finally:
        hook.remove()
