"""Lazy access to data sets: images and prompts read on demand, and samples without their images."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, TypeVar, overload

import numpy as np

from pcvr.data.sample import Dataset, Image, Sample

KEEP_PICTURES = 32 * 2**20
"""Bytes of decoded images that one `Asked` keeps; other images are read again on each access."""
NO_PICTURE: Image = np.empty((0, 0, 3), dtype=np.uint8)

T = TypeVar("T")


class Lazy(Sequence[T]):
    """A sequence of `length` items that ``make(index)`` makes on each access; a slice is a list."""

    def __init__(self, make: Callable[[int], T], length: int) -> None:
        self._make, self._length = make, length

    def __len__(self) -> int:
        return self._length

    @overload
    def __getitem__(self, index: int) -> T: ...

    @overload
    def __getitem__(self, index: slice) -> list[T]: ...

    def __getitem__(self, index: int | slice) -> T | list[T]:
        if isinstance(index, slice):
            return [self._make(i) for i in range(self._length)[index]]
        return self._make(range(self._length)[index])


def picked(items: Sequence[T], indices: Sequence[int]) -> Lazy[T]:
    """Return the items at `indices`, each read on access."""
    return Lazy(lambda k: items[indices[k]], len(indices))


def bare(sample: Sample) -> Sample:
    """Return the sample with an empty image."""
    return replace(sample, image=NO_PICTURE)


def bare_samples(data: Dataset) -> list[Sample]:
    """Return all samples of `data` without their images; only one image at a time is in memory."""
    return [bare(data[i]) for i in range(len(data))]


class Asked:
    """The images and prompts of one or more data sets in sequence, read on access.

    Prompts are kept, and images up to a budget, so that iterating over both in parallel reads each sample once.

    Args:
        data: one or more data sets.
        keep_bytes: the budget in bytes of decoded images.

    Attributes:
        images: N images, uint8 ``[H, W, 3]`` each.
        prompts: N prompts.
    """

    def __init__(self, *data: Dataset, keep_bytes: int = KEEP_PICTURES) -> None:
        self._places = [(part, i) for part in data for i in range(len(part))]
        self._left = keep_bytes
        self._kept: dict[int, Image] = {}
        self._prompts: dict[int, str] = {}
        self._last: tuple[int, Image] = (-1, NO_PICTURE)

    # A new sequence each time: a stored one would form a reference cycle that keeps the images in memory.

    @property
    def images(self) -> Sequence[Image]:
        return Lazy(self._image, len(self._places))

    @property
    def prompts(self) -> Sequence[str]:
        return Lazy(self._prompt, len(self._places))

    def _image(self, place: int) -> Image:
        if place in self._kept:
            return self._kept[place]
        if self._last[0] != place:
            self._read(place)
        return self._last[1]

    def _prompt(self, place: int) -> str:
        if place not in self._prompts:
            self._read(place)
        return self._prompts[place]

    def _read(self, place: int) -> None:
        part, index = self._places[place]
        sample = part[index]
        self._prompts[place], self._last = sample.question, (place, sample.image)
        if (size := picture_bytes(sample.image)) <= self._left:
            self._kept[place] = sample.image
            self._left -= size


def picture_bytes(image: Any) -> int:
    """Return the size in bytes of a decoded image, an array or a Pillow image."""
    return int(image.nbytes) if hasattr(image, "nbytes") else 3 * int(image.width) * int(image.height)
