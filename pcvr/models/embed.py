"""Tower features with gradients to the pixels, for optimised attacks."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from pcvr.errors import PcvrError
from pcvr.models.layout import as_patches
from pcvr.models.picture_tokens import side_of

if TYPE_CHECKING:
    from pcvr.models.vlm import VisionLanguageModel

_ANY_SIZE = 224  # image size for towers that take any size


def embed(vlm: VisionLanguageModel, pictures: Tensor) -> Tensor:
    """Return the features of the tower's last layer, with gradient.

    Each image is resized as a whole to the tower's own size; families with tiles have such an overview among them.

    Args:
        vlm: the model; only its tower is used.
        pictures: images, levels 0 to 255, float ``[B, 3, H, W]``.

    Returns:
        float32 ``[B, tokens, width]``.

    Raises:
        PcvrError: the tower takes more than pixels.
    """
    tower = vlm.family.part(vlm.model, "tower")
    parameter = next(tower.parameters())
    if vlm.family.pack == "list" and vlm.family.layout == "tiles":
        raise PcvrError(f"the tower of {vlm.name!r} takes more than pixels: take a model of another family.")
    side = side_of(getattr(vlm.model.config.vision_config, "image_size", _ANY_SIZE))
    if tuple(pictures.shape[-2:]) != (side, side):
        pictures = interpolate(pictures, (side, side), mode="bilinear", antialias=True)
    prepare = vlm.processor.image_processor
    mean, std = (pictures.new_tensor(v).view(3, 1, 1) for v in (prepare.image_mean, prepare.image_std))
    normal = ((pictures / 255 - mean) / std).to(parameter.device, parameter.dtype)
    if vlm.family.layout == "patches":
        rows, grid = as_patches(vlm, normal)
        features = tower(rows, grid_thw=grid).last_hidden_state
        return features.view(len(normal), -1, features.shape[-1]).float()
    features = tower(normal, return_dict=True).last_hidden_state
    return features.reshape(len(normal), -1, features.shape[-1]).float()  # of any size: those of all images in one row


def as_levels(batch: object) -> Tensor:
    """Convert uint8 ``[B, H, W, 3]`` (NumPy) to float ``[B, 3, H, W]``."""
    return torch.tensor(batch).permute(0, 3, 1, 2).float()
