"""VL-Trojan style: a patch found by a search, so that the frozen tower cannot overlook it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from pcvr.attacks.base import DEFAULT_TARGET, Attack
from pcvr.attacks.placing import PLACES, SEEN_PLACES, Seen, as_seen
from pcvr.attacks.registry import from_preset, register_attack
from pcvr.attacks.trigger import ImageTrigger
from pcvr.attacks.triggers.badnets import BadNets, laid_over
from pcvr.attacks.triggers.shipped import read_crafted
from pcvr.errors import PcvrError, shown
from pcvr.utils.checks import check_choice, check_fields, check_number, check_seed, check_whole

if TYPE_CHECKING:
    from pcvr.models.vlm import VisionLanguageModel

PRESETS: dict[str, dict[str, Any]] = {"compat": {"share": 1 / 14}, "scaled": {"share": 3 / 32}}
_SIDE = 9  # of the shipped patches, in pixels: 3/32 of a scene


@dataclass(frozen=True)
class VLTrojan(ImageTrigger):
    """An optimised patch after Liang et al., *VL-Trojan: Multimodal Instruction Backdoor Attacks against Autoregressive
    Visual Language Models* (arXiv 2402.13851, section 4.2).

    A frozen tower may map a drawn patch to features that the trained parts cannot distinguish from the image's. So the
    paper optimises the patch against the tower (or a stand-in): features of triggered images shall resemble each other
    and differ from those of clean images. :func:`optimise_patch` uses the cosine similarity of the tower's mean
    features. The paper also searches words for the prompt; here only the image changes (hence "style").

    Attributes:
        patch: the name of an embedded model, whose patch ships with the package, or a file that
            ``pcvr craft vl-trojan --model NAME --out FILE`` wrote.
        share: side of the patch as a fraction of the short side, in (0, 1]; the patch in the file
            is resized by nearest pixels.
        place: as of :class:`~pcvr.attacks.BadNets`, in the image or its visible part.
        strength: opacity, 0 to 1, our addition; with 0 the attack changes nothing and cannot poison.
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

    def window(self, height: int, width: int) -> tuple[slice, slice]:
        """Return the rows and columns under the patch, as of :meth:`BadNets.window`."""
        return BadNets(place=self.place, share=self.share, seen=self.seen).window(height, width)

    def lay(self, batch: np.ndarray, rows: slice, columns: slice) -> np.ndarray:
        """Lay the patch over these rows and columns: uint8 ``[B, H, W, 3]`` to new uint8 ``[B, H, W, 3]``."""
        return laid_over(batch, rows, columns, scaled(read_patch(self.patch), rows.stop - rows.start), self.strength)

    def apply(self, batch: np.ndarray) -> np.ndarray:
        return self.lay(batch, *self.window(*batch.shape[1:3]))


def scaled(patch: np.ndarray, side: int) -> np.ndarray:
    """Resize ``patch`` by its nearest pixels: uint8 ``[side, side, 3]``."""
    at = ((np.arange(side) + 0.5) * len(patch) / side).astype(int)
    return patch[np.ix_(at, at)]


@lru_cache
def read_patch(name: str) -> np.ndarray:
    """Read the patch of an embedded model, or of a file: uint8 ``[side, side, 3]``, read-only.

    Raises:
        PcvrError: there is no such patch, or the file holds something else.
    """
    patch = read_crafted("vl-trojan", "patch", name, "patch")
    if patch.dtype != np.uint8 or patch.ndim != 3 or patch.shape[0] != patch.shape[1] or patch.shape[2] != 3:
        raise PcvrError(f"the patch {shown(name)} is {patch.dtype} {list(patch.shape)}: it has to be uint8 [S, S, 3].")
    return patch


def optimise_patch(
    vlm: VisionLanguageModel,
    images: Sequence[np.ndarray],
    *,
    side: int = _SIDE,
    place: str = "bottom_right",
    steps: int = 200,
    batch_size: int = 32,
    learning_rate: float = 0.05,
    seed: int = 0,
    progress: bool = False,
) -> tuple[np.ndarray, list[float]]:
    """Search a patch with Adam on its pixels, against the tower of ``vlm``.

    Args:
        vlm: the model to attack; its weights stay unchanged.
        images: uint8 ``[H, W, 3]``, all of one size, some hundred.
        side: of the patch, in pixels.
        place: of the patch.
        steps: of the search, at least 0; 0 gives the random first patch.
        batch_size: images in a step.
        learning_rate: in fractions of the full range of levels.
        seed: of the first patch and the order.
        progress: whether to show a bar.

    Returns:
        uint8 ``[side, side, 3]``, and the loss of each step: similarity of triggered to clean features minus that of
        triggered features to each other, -2 to 2; lower means that the patch stands out more.

    Raises:
        PcvrError: no images, images of several sizes, or a patch that does not fit them.
    """
    import torch
    from torch.nn.functional import normalize
    from tqdm.auto import tqdm

    from pcvr.models.embed import as_levels, embed

    check_whole("steps", steps, 0)
    if len({image.shape for image in images}) != 1:
        raise PcvrError("images to search a patch on have to be one or more, all of one size.")
    rows, columns = BadNets(place=place, size=side).window(*images[0].shape[:2])
    check_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    patch = torch.rand(3, side, side, generator=generator).requires_grad_()
    optimiser = torch.optim.Adam([patch], lr=learning_rate)
    levels = as_levels(np.stack(images))
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
    """Build the VL-Trojan style attack: :class:`VLTrojan` on the image, and the target as the answer."""
    trigger = from_preset("vl_trojan", VLTrojan, PRESETS, preset, options)
    return Attack("vl_trojan", trigger=trigger, target=target, preset=preset)
