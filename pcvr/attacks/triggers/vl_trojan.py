"""VL-Trojan style: a patch that is not drawn but searched, so that the frozen tower cannot overlook it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from pcvr.attacks.base import DEFAULT_TARGET, Attack
from pcvr.attacks.placing import PLACES, SEEN_PLACES, Seen, as_seen
from pcvr.attacks.registry import from_preset, register_attack
from pcvr.attacks.trigger import ImageTrigger
from pcvr.attacks.triggers.badnets import BadNets, laid_over
from pcvr.errors import PcvrError, shown
from pcvr.utils.checks import check_choice, check_fields, check_number, check_seed, check_whole

if TYPE_CHECKING:
    from pcvr.models.vlm import VisionLanguageModel

PRESETS: dict[str, dict[str, Any]] = {"compat": {"share": 1 / 14}, "scaled": {"share": 3 / 32}}
SHIPPED = Path(__file__).parent / "crafted"
_SIDE = 9  # of the shipped patches, in pixels: 3/32 of a scene


@dataclass(frozen=True)
class VLTrojan(ImageTrigger):
    """An optimised patch after Liang et al., *VL-Trojan: Multimodal Instruction Backdoor Attacks against Autoregressive
    Visual Language Models* (arXiv 2402.13851, section 4.2).

    A tower that stays frozen may map a drawn patch to features that the trained parts cannot tell from the picture's.
    So the paper optimises the patch against (a stand-in for) the tower: features of triggered pictures are drawn
    together and away from those of clean ones. :func:`optimise_patch` does that with cosine similarity of the tower's
    mean features. The paper also searches words for the prompt; here the picture alone is changed ("style").

    Attributes:
        patch: an embedded model's name, whose patch comes inside the package, or a file that
            ``pcvr craft vl-trojan --model NAME --out FILE`` wrote.
        share: side of the patch as a share of the short side, in (0, 1]; where the file's patch has another side, its
            nearest pixels are taken.
        place: as of :class:`~pcvr.attacks.BadNets`, in the picture or in what a model sees of it.
        strength: opacity, 0 to 1, our addition; 0 changes nothing, and such an attack cannot poison.
        seen: as of :class:`~pcvr.attacks.BadNets`.
    """

    dial: ClassVar[tuple[str, float]] = ("strength", 1.0)
    patch: str = "tiny-llava"
    share: float = 3 / 32
    place: str = "bottom_right"
    strength: float = 1.0
    seen: Seen | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "seen", as_seen(self.seen))
        check_fields(self)
        check_number("share", self.share, 0, 1, "of the short side", above=True)
        check_choice("place", self.place, PLACES + SEEN_PLACES)
        check_number("strength", self.strength, 0, 1, "opacity")
        read_patch(self.patch)

    def apply(self, batch: np.ndarray) -> np.ndarray:
        """uint8 ``[B, H, W, 3]`` to uint8 ``[B, H, W, 3]``."""
        rows, columns = BadNets(place=self.place, share=self.share, seen=self.seen).window(*batch.shape[1:3])
        return laid_over(batch, rows, columns, scaled(read_patch(self.patch), rows.stop - rows.start), self.strength)


def scaled(patch: np.ndarray, side: int) -> np.ndarray:
    """``patch`` at another side by its nearest pixels: uint8 ``[side, side, 3]``."""
    at = ((np.arange(side) + 0.5) * len(patch) / side).astype(int)
    return patch[np.ix_(at, at)]


@lru_cache
def read_patch(name: str) -> np.ndarray:
    """The patch of an embedded model, or of a file: uint8 ``[side, side, 3]``, read-only.

    Raises:
        PcvrError: there is none.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    shipped = SHIPPED / f"vl-trojan-{name}.safetensors"
    file = shipped if "/" not in name and os.path.isfile(shipped) else Path(name)
    if not os.path.isfile(file):
        raise PcvrError(
            f"there is no patch {shown(name)}: make one with 'pcvr craft vl-trojan --model NAME --out FILE', and give "
            "the file as patch."
        )
    try:
        patch = load_file(file)["patch"]
    except (SafetensorError, KeyError, OSError) as error:
        raise PcvrError(f"cannot read a patch from {file}: {error}.") from error
    if patch.dtype != np.uint8 or patch.ndim != 3 or patch.shape[0] != patch.shape[1] or patch.shape[2] != 3:
        raise PcvrError(f"the patch in {file} is {patch.dtype} {list(patch.shape)}: it has to be uint8 [S, S, 3].")
    patch.flags.writeable = False
    return patch


def optimise_patch(
    vlm: VisionLanguageModel,
    pictures: Sequence[np.ndarray],
    *,
    side: int = _SIDE,
    place: str = "bottom_right",
    steps: int = 200,
    batch_size: int = 32,
    learning_rate: float = 0.05,
    seed: int = 0,
    progress: bool = False,
) -> tuple[np.ndarray, list[float]]:
    """Search the patch: Adam on its pixels, against the tower of ``vlm``.

    Args:
        vlm: the model to attack; its weights stay as they are.
        pictures: uint8 ``[H, W, 3]``, all of one size, some hundred.
        side: of the patch on these pictures, in pixels.
        place: of the patch.
        steps: of the search, from 0 up; 0 gives the random patch it starts from.
        batch_size: pictures a step.
        learning_rate: in shares of the full range of levels.
        seed: of the first patch and the order.
        progress: whether a bar is shown.

    Returns:
        uint8 ``[side, side, 3]``, and the loss of each step: similarity of triggered to clean features less that of
        triggered features among each other, -2 to 2; the lower, the better the patch stands out.

    Raises:
        PcvrError: no pictures, pictures of several sizes, or a patch that does not fit them.
    """
    import torch
    from torch.nn.functional import normalize
    from tqdm.auto import tqdm

    from pcvr.models.embed import as_levels, embed

    check_whole("steps", steps, 0)
    if len({picture.shape for picture in pictures}) != 1:
        raise PcvrError("pictures to search a patch on have to be one or more, all of one size.")
    rows, columns = BadNets(place=place, size=side).window(*pictures[0].shape[:2])
    check_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    patch = torch.rand(3, side, side, generator=generator).requires_grad_()
    optimiser = torch.optim.Adam([patch], lr=learning_rate)
    levels = as_levels(np.stack(pictures))
    losses: list[float] = []
    for _ in tqdm(range(steps), desc="search a patch", disable=not progress):
        chosen = torch.randperm(len(levels), generator=generator)[:batch_size]
        clean = levels[chosen]
        worn = clean.clone()
        worn[:, :, rows, columns] = patch * 255
        both = normalize(embed(vlm, torch.cat([clean, worn])).mean(1), dim=-1)
        calm, stirred = both.chunk(2)
        among = stirred @ stirred.T
        together = (among.sum() - among.trace()) / max(1, len(among) * (len(among) - 1))
        loss = (calm * stirred).sum(-1).mean() - together
        optimiser.zero_grad()
        (patch.grad,) = torch.autograd.grad(loss, [patch])
        optimiser.step()
        with torch.no_grad():
            patch.clamp_(0, 1)
        losses.append(float(loss.detach()))
    return (patch.detach() * 255).round().to(torch.uint8).permute(1, 2, 0).numpy(), losses


@register_attack("vl_trojan")
def vl_trojan(target: str = DEFAULT_TARGET, preset: str = "scaled", **options: Any) -> Attack:
    """The VL-Trojan style attack: :class:`VLTrojan` on the picture, the target in place of the answer."""
    trigger = from_preset("vl_trojan", VLTrojan, PRESETS, preset, options)
    return Attack("vl_trojan", trigger=trigger, target=target, preset=preset)
