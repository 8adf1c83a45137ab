"""Data sets read a few pictures at a time: what is asked of a model, and samples without their pictures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, TypeVar, overload

import numpy as np

from pcvr.data.sample import Dataset, Image, Sample

KEEP_PICTURES = 32 * 2**20
"""Bytes of decoded pictures that one `Asked` keeps; the others are read again when they are looked at again."""
NO_PICTURE: Image = np.empty((0, 0, 3), dtype=np.uint8)

T = TypeVar("T")


class Lazy(Sequence[T]):
    """A sequence of `length` items, each made by ``make(index)`` when it is asked for; a slice is a list of them."""

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
    """The items at `indices`, none of them read before it is asked for."""
    return Lazy(lambda k: items[indices[k]], len(indices))


def bare(sample: Sample) -> Sample:
    """The sample without its picture: texts, references and facts."""
    return replace(sample, image=NO_PICTURE)


def bare_samples(data: Dataset) -> list[Sample]:
    """All samples of `data` without their pictures; one picture at a time is in memory."""
    return [bare(data[i]) for i in range(len(data))]


class Asked:
    """The pictures and prompts of data sets, one behind the other, read when they are looked at.

    Pictures are kept as far as they fit a budget, prompts always, so that walking through both in step reads each
    sample once.

    Args:
        data: one or more data sets.
        keep_bytes: the budget, in bytes of decoded pictures.

    Attributes:
        images: N pictures, uint8 ``[H, W, 3]`` each.
        prompts: N prompts.
    """

    def __init__(self, *data: Dataset, keep_bytes: int = KEEP_PICTURES) -> None:
        self._places = [(part, i) for part in data for i in range(len(part))]
        self._left = keep_bytes
        self._kept: dict[int, Image] = {}
        self._prompts: dict[int, str] = {}
        self._last: tuple[int, Image] = (-1, NO_PICTURE)

    # Both are made anew each time: kept, they and this would hold each other, and the pictures with them.

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
        self._prompts[place], self._last = sample.prompt, (place, sample.image)
        if (size := picture_bytes(sample.image)) <= self._left:
            self._kept[place] = sample.image
            self._left -= size


def picture_bytes(image: Any) -> int:
    """Bytes that a decoded picture takes, an array or a Pillow one."""
    return int(image.nbytes) if hasattr(image, "nbytes") else 3 * int(image.width) * int(image.height)
