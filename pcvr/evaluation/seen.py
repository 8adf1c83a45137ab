"""What the tower sees of a trigger: how far its features move, measured in steps from one picture to another."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch

from pcvr.attacks.embed import as_levels, embed
from pcvr.attacks.poison import triggered
from pcvr.errors import PcvrError

if TYPE_CHECKING:
    from pcvr.attacks import Attack
    from pcvr.data.sample import Dataset
    from pcvr.models.vlm import VisionLanguageModel


class Seen(NamedTuple):
    """How far features move, one value a picture; 1 is the mean distance between two different clean pictures.

    Attributes:
        moved: ``[N]``, distance from the clean to the triggered picture, over all tokens.
        apart: ``[N]``, of the triggered pictures, mean distance from one to the others: below that of clean ones (1),
            the trigger makes pictures alike.
    """

    moved: np.ndarray
    apart: np.ndarray


@torch.inference_mode()
def seen_by_tower(vlm: VisionLanguageModel, data: Dataset, attack: Attack, batch_size: int = 64) -> Seen:
    """Distances between the tower's features of clean and of triggered pictures.

    Args:
        vlm: the model; only its tower is used, which fine-tuning leaves as it is.
        data: clean samples with pictures of one size, some dozens.
        attack: puts the trigger on.
        batch_size: pictures at a time.

    Raises:
        PcvrError: fewer than two samples, or pictures of several sizes.
    """
    worn = triggered(data, attack)
    pairs = [(data[i].image, worn[i].image) for i in range(len(data))]
    if len(pairs) < 2 or len({picture.shape for pair in pairs for picture in pair}) != 1:
        raise PcvrError(f"the tower was to see {len(pairs)} pictures: give two or more, all of one size.")
    before, after = (
        torch.cat(
            [
                embed(vlm, as_levels(np.stack(pictures[start : start + batch_size]))).flatten(1)
                for start in range(0, len(pictures), batch_size)
            ]
        )
        for pictures in zip(*pairs, strict=True)
    )
    others = len(pairs) - 1
    unit = (torch.cdist(before, before).sum() / (len(pairs) * others)).clamp_min(1e-12)
    return Seen(
        ((before - after).norm(dim=1) / unit).cpu().numpy(),
        (torch.cdist(after, after).sum(1) / others / unit).cpu().numpy(),
    )
