"""Patch operators: they turn an image, or its tower features, into the perturbed second view.

The paper describes a patch-level augmentation that gives a second view of each image and "acts at the feature level".
It does not state operation, patch size or fraction, so the five operators, the two levels and their defaults are this
workbook's choice.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor

from pcvr.errors import PcvrError
from pcvr.utils.checks import check_choice, check_fields, is_whole
from pcvr.utils.renamed import accepts_old_names

OPERATORS = ("swap", "mean", "noise", "shuffle", "swap_within")
LEVELS = ("pixels", "features")


@accepts_old_names
@dataclass(frozen=True)
class PatchView:
    """How the second view is made.

    Attributes:
        operator: ``"swap"`` takes patches of another image at the same position, ``"mean"`` the image's mean colour,
            ``"noise"`` normal noise of unit scale; ``"shuffle"`` permutes the chosen patches in one random cycle,
            ``"swap_within"`` exchanges them in random pairs.
        fraction: fraction of the patches that change, in ``(0, 1]``; at least one always changes.
        patch: side of a patch in pixels; if an image's side is not a multiple, the remainder stays unperturbed.
        level: ``"pixels"`` changes the image before the tower; ``"features"`` changes the tower's output tokens, one
            token a patch, and so needs no second pass through the tower. Without kept tower features (large data,
            images of several sizes) pixels are changed instead.
    """

    RENAMED: ClassVar[Mapping[str, str]] = {"share": "fraction"}

    operator: str = field(default="swap", metadata={"help": "swap, mean, noise, shuffle or swap_within (ours)"})
    fraction: float = field(default=0.6, metadata={"help": "fraction of the patches that change, (0, 1] (ours)"})
    patch: int = field(default=16, metadata={"help": "side of a patch in pixels (ours: the tower's)"})
    level: str = field(default="pixels", metadata={"help": "what is changed: pixels or features (ours)"})

    def __post_init__(self) -> None:
        check_fields(self)
        check_choice("level of the view", self.level, LEVELS)
        check_choice("view operator", self.operator, OPERATORS)
        if not 0 < self.fraction <= 1:
            raise PcvrError(f"fraction must lie in (0, 1], got {self.fraction}: 0.6 changes six patches of ten.")
        if not is_whole(self.patch) or self.patch < 1:
            raise PcvrError(f"patch must be a whole number of pixels, at least 1, got {self.patch!r}: 16 is usual.")

    def __call__(self, pixels: Tensor, generator: torch.Generator, donors: Tensor | None = None) -> Tensor:
        """Perturb a batch of images.

        Args:
            pixels: float ``[B, C, H, W]``, normalised for the tower.
            generator: source of all randomness; the same state gives the same view.
            donors: images ``[B, C, H, W]`` whose patches ``"swap"`` takes; by default the batch rolled by one.

        Returns:
            A new tensor ``[B, C, H, W]``; unchanged patches are equal to the bit.

        Raises:
            PcvrError: an image is smaller than a patch, or ``"swap"`` gets a single image and no donor.
        """
        batch, _, height, width = pixels.shape
        rows, columns = height // self.patch, width // self.patch
        if rows == 0 or columns == 0:
            raise PcvrError(
                f"images of {height} x {width} px are smaller than the patch of {self.patch} px: "
                "give larger images or a smaller patch."
            )
        chosen = choose_patches(batch, rows * columns, self.fraction, generator, self._fewest)  # [B, N] bool
        mask = chosen.view(batch, 1, rows, columns)
        mask = mask.repeat_interleave(self.patch, 2).repeat_interleave(self.patch, 3).to(pixels.device)
        inner = pixels[..., : rows * self.patch, : columns * self.patch]
        filling = self._filling(inner, chosen, generator, donors, (rows, columns))
        view = pixels.clone()
        view[..., : rows * self.patch, : columns * self.patch] = torch.where(mask, filling, inner)
        return view

    def of_tokens(self, tokens: Tensor, generator: torch.Generator, donors: Tensor | None = None) -> Tensor:
        """Perturb tower features: a patch is one token, and `patch` is not used.

        Args:
            tokens: float ``[B, N, D]`` or ``[B, tiles, N, D]``, as `pcvr.models.tower.tower_features` gives them.
            generator: source of all randomness; the same state gives the same view.
            donors: tokens of other images, same shape, for ``"swap"``; by default the batch rolled by one.

        Returns:
            A new tensor of the same shape; unchanged tokens are equal to the bit. ``"noise"`` has the mean and standard
            deviation of each channel over the image.

        Raises:
            PcvrError: ``"swap"`` gets a single image and no donor.
        """
        flat = tokens.flatten(0, -3)  # [B tiles, N, D]
        chosen = choose_patches(len(flat), flat.shape[1], self.fraction, generator, self._fewest)
        if self.operator == "swap":
            filling = self._donors(tokens, donors).flatten(0, -3)
        elif self.operator == "mean":
            filling = flat.mean(1, keepdim=True).expand_as(flat)
        elif self.operator == "noise":
            drawn = torch.randn(flat.shape, generator=generator).to(flat)
            filling = flat.mean(1, keepdim=True) + drawn * flat.std(1, keepdim=True, unbiased=False)
        else:
            order = self._order(chosen, generator).to(flat.device)
            filling = flat.gather(1, order[..., None].expand_as(flat))
        return torch.where(chosen[..., None].to(flat.device), filling, flat).view_as(tokens)

    @property
    def _fewest(self) -> int:
        return 2 if self.operator in ("shuffle", "swap_within") else 1  # a single patch cannot be permuted

    def _donors(self, own: Tensor, donors: Tensor | None) -> Tensor:
        if donors is None:
            if len(own) == 1:
                raise PcvrError("the swap operator needs another image: give donors or at least two images.")
            donors = own.roll(1, 0)
        return donors.to(own)

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
        if self.operator in ("shuffle", "swap_within"):
            tiles = torch.nn.functional.unfold(inner, self.patch, stride=self.patch)  # [B, C p p, N]
            order = self._order(chosen, generator).to(inner.device)
            tiles = tiles.gather(2, order[:, None].expand_as(tiles))
            size = (grid[0] * self.patch, grid[1] * self.patch)
            return torch.nn.functional.fold(tiles, size, self.patch, stride=self.patch)
        return self._donors(inner, None if donors is None else donors[..., : inner.shape[2], : inner.shape[3]])

    def _order(self, chosen: Tensor, generator: torch.Generator) -> Tensor:
        """Return the source of each patch, ``[B, N]``: the chosen ones in one random cycle, or in random pairs.

        With an odd number of patches, the last one has no partner; it gets a copy of the first one.
        """
        order = torch.arange(chosen.shape[1]).repeat(len(chosen), 1)
        for i, picks in enumerate(chosen):
            places = picks.nonzero().squeeze(1)
            places = places[torch.randperm(len(places), generator=generator)]
            if self.operator == "shuffle":
                order[i, places] = places.roll(1)
                continue
            half = len(places) // 2
            first, second = places[:half], places[half : 2 * half]
            order[i, first], order[i, second] = second, first
            if len(places) % 2 and half:
                order[i, places[-1]] = first[0]
        return order


def choose_patches(batch: int, patches: int, fraction: float, generator: torch.Generator, fewest: int = 1) -> Tensor:
    """Return a bool mask ``[batch, patches]``; ``round(fraction * patches)`` true a row, at least `fewest`."""
    count = min(patches, max(fewest, round(fraction * patches)))
    order = torch.rand(batch, patches, generator=generator).argsort(1)
    return torch.zeros(batch, patches, dtype=torch.bool).scatter_(1, order[:, :count], True)
