"""Patch operators: from a picture to its perturbed second view.

The paper states a patch-level augmentation that gives a second view of each picture; which operation, which patch size
and which share are not in what can be read of it, so the four operators and their defaults are this workbook's choice.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from pcvr.checks import is_whole
from pcvr.errors import PcvrError, unknown_name

OPERATORS = ("swap", "mean", "noise", "shuffle")


@dataclass(frozen=True)
class PatchView:
    """How the second view is made.

    Attributes:
        operator: ``"swap"`` takes patches of another picture at the same place, ``"mean"`` the picture's mean colour,
            ``"noise"`` normal noise of unit scale, ``"shuffle"`` other patches of the same picture.
        share: share of the patches that change, in ``(0, 1]``; at least one always does.
        patch: side of a patch in pixels; sides of the picture that are no multiple keep their remainder unperturbed.
    """

    operator: str = field(default="swap", metadata={"help": "swap, mean, noise or shuffle (ours)"})
    share: float = field(default=0.6, metadata={"help": "share of patches that change, (0, 1] (ours)"})
    patch: int = field(default=16, metadata={"help": "side of a patch in pixels (ours: the tower's)"})

    def __post_init__(self) -> None:
        if self.operator not in OPERATORS:
            raise unknown_name("view operator", self.operator, OPERATORS)
        if not 0 < self.share <= 1:
            raise PcvrError(f"share must lie in (0, 1], got {self.share}: 0.6 changes six patches of ten.")
        if not is_whole(self.patch) or self.patch < 1:
            raise PcvrError(f"patch must be a whole number of pixels, at least 1, got {self.patch!r}.")

    def __call__(self, pixels: Tensor, generator: torch.Generator, donors: Tensor | None = None) -> Tensor:
        """Perturb a batch of pictures.

        Args:
            pixels: float ``[B, C, H, W]``, in the scale the tower takes.
            generator: source of all randomness; the same state gives the same view.
            donors: pictures ``[B, C, H, W]`` that give patches to ``"swap"``; the batch rolled by one where not given.

        Returns:
            A new tensor ``[B, C, H, W]``; unchanged patches are equal to the bit.

        Raises:
            PcvrError: a picture is smaller than a patch, or a lone picture is to swap without a donor.
        """
        batch, _, height, width = pixels.shape
        rows, columns = height // self.patch, width // self.patch
        if rows == 0 or columns == 0:
            raise PcvrError(
                f"pictures of {height} x {width} px are smaller than the patch of {self.patch} px: "
                "give larger pictures or a smaller patch."
            )
        fewest = 2 if self.operator == "shuffle" else 1  # a lone patch cannot change places
        chosen = choose_patches(batch, rows * columns, self.share, generator, fewest)  # [B, N] bool
        mask = chosen.view(batch, 1, rows, columns)
        mask = mask.repeat_interleave(self.patch, 2).repeat_interleave(self.patch, 3).to(pixels.device)
        inner = pixels[..., : rows * self.patch, : columns * self.patch]
        filling = self._filling(inner, chosen, generator, donors, (rows, columns))
        view = pixels.clone()
        view[..., : rows * self.patch, : columns * self.patch] = torch.where(mask, filling, inner)
        return view

    def _filling(
        self,
        inner: Tensor,
        chosen: Tensor,
        generator: torch.Generator,
        donors: Tensor | None,
        grid: tuple[int, int],
    ) -> Tensor:
        if self.operator == "mean":
            return inner.mean((2, 3), keepdim=True).expand_as(inner)
        if self.operator == "noise":
            return torch.randn(inner.shape, generator=generator).to(inner)
        if self.operator == "shuffle":
            return self._shuffled(inner, chosen, generator, grid)
        if donors is None:
            if len(inner) == 1:
                raise PcvrError("the swap operator needs another picture: give donors or at least two pictures.")
            donors = inner.roll(1, 0)
        return donors[..., : inner.shape[2], : inner.shape[3]].to(inner)

    def _shuffled(self, inner: Tensor, chosen: Tensor, generator: torch.Generator, grid: tuple[int, int]) -> Tensor:
        """The chosen patches permuted among themselves by one random cycle, so that each one moves."""
        tiles = torch.nn.functional.unfold(inner, self.patch, stride=self.patch)  # [B, C p p, N]
        for i, picks in enumerate(chosen):
            places = picks.nonzero().squeeze(1)
            order = places[torch.randperm(len(places), generator=generator)]
            tiles[i][:, order] = tiles[i][:, order.roll(1)]
        size = (grid[0] * self.patch, grid[1] * self.patch)
        return torch.nn.functional.fold(tiles, size, self.patch, stride=self.patch)


def choose_patches(batch: int, patches: int, share: float, generator: torch.Generator, fewest: int = 1) -> Tensor:
    """A bool mask ``[batch, patches]`` with ``round(share * patches)``, but at least `fewest`, true places a row."""
    count = min(patches, max(fewest, round(share * patches)))
    order = torch.rand(batch, patches, generator=generator).argsort(1)
    return torch.zeros(batch, patches, dtype=torch.bool).scatter_(1, order[:, :count], True)
