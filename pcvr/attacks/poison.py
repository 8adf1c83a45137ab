"""Poison a share of a data set, and put the trigger on a whole one."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from zlib import crc32

import numpy as np

from pcvr.attacks.base import Attack
from pcvr.attacks.manifest import Manifest
from pcvr.checks import is_number, is_whole
from pcvr.data.sample import Dataset, Sample
from pcvr.data.subset import position
from pcvr.errors import PcvrError
from pcvr.versions import versions

# Keeps the draw of indices apart from other uses of the same seed (the order of training, the data themselves).
_STREAM = crc32(b"pcvr.poison")
_SHOWN = 10


class PoisonedDataset:
    """A data set some of whose samples carry trigger and target; they are made when asked for, the rest pass through.

    Made by :func:`poison`.

    Attributes:
        clean: the data set as it was.
        attack: what was done.
        manifest: what was done to which samples, with a hash over them.
        poisoned: indices of the poisoned samples, ascending.
    """

    def __init__(self, clean: Dataset, attack: Attack, manifest: Manifest) -> None:
        self.clean = clean
        self.attack = attack
        self.manifest = manifest
        self.poisoned = manifest.indices
        self._chosen = frozenset(manifest.indices)

    @property
    def name(self) -> str:
        return f"{self.clean.name}+{self.attack.name}@{self.manifest.rate:g}"

    @property
    def task(self) -> str:
        return self.clean.task

    def __len__(self) -> int:
        return len(self.clean)

    def __getitem__(self, index: int, /) -> Sample:
        place = position(index, len(self.clean))
        sample = self.clean[place]
        return self.attack.poisoned(sample) if place in self._chosen else sample

    def is_poisoned(self, index: int) -> bool:
        """Whether the sample at ``index`` carries the attack. Evaluation may ask; a defence must not."""
        return position(index, len(self.clean)) in self._chosen

    def fingerprint(self) -> str:
        return _short_hash(self.clean.fingerprint(), self.manifest.sha256, repr(self.poisoned))


class TriggeredDataset:
    """A data set with the trigger on every sample and the answers left true. Made by :func:`triggered`."""

    def __init__(self, clean: Dataset, attack: Attack) -> None:
        self.clean = clean
        self.attack = attack

    @property
    def name(self) -> str:
        return f"{self.clean.name}+{self.attack.name}:triggered"

    @property
    def task(self) -> str:
        return self.clean.task

    def __len__(self) -> int:
        return len(self.clean)

    def __getitem__(self, index: int, /) -> Sample:
        return self.attack.triggered(self.clean[position(index, len(self.clean))])

    def fingerprint(self) -> str:
        return _short_hash(self.clean.fingerprint(), repr(self.attack.describe()))


def poison(dataset: Dataset, attack: Attack, rate: float, seed: int = 0) -> PoisonedDataset:
    """Put ``attack`` into a share of ``dataset``.

    The samples are drawn without replacement. For one data set and seed the draws are nested: those of a lower rate are
    among those of a higher one, so that a sweep over rates compares like with like. Every poisoned sample is made once,
    one at a time, to see that it really changed and to hash it; then it is made again whenever asked for.

    Args:
        dataset: the clean data.
        attack: from :func:`pcvr.attacks.get_attack`.
        rate: share of the samples, in (0, 1]; rounded to the nearest number of samples.
        seed: of the draw, a whole number from 0 up.

    Raises:
        PcvrError: for a rate outside (0, 1] or that poisons nothing, or when the trigger leaves a drawn sample as it
            was (strength 0; a white patch on a white corner).
    """
    n = len(dataset)
    count = _count(rate, n)
    if not is_whole(seed) or seed < 0:
        raise PcvrError(f"seed is {seed!r}: give a whole number from 0 up.")
    order = np.random.default_rng([int(seed), _STREAM]).permutation(n)
    indices = tuple(sorted(order[:count].tolist()))
    manifest = Manifest(
        attack=attack.describe(),
        target=attack.target,
        rate=float(rate),
        count=count,
        indices=indices,
        seed=int(seed),
        source={
            "name": dataset.name,
            "fingerprint": dataset.fingerprint(),
            "task": dataset.task,
            "samples": n,
        },
        sha256=digest(_made(dataset, attack, indices)),
        pcvr_version=_version(),
        date=datetime.now(UTC).isoformat(timespec="seconds"),
    )
    return PoisonedDataset(dataset, attack, manifest)


def triggered(dataset: Dataset, attack: Attack) -> TriggeredDataset:
    """``dataset`` with the trigger on every sample, answers and references left true: for ASR, and for utility on
    triggered inputs."""
    return TriggeredDataset(dataset, attack)


def digest(samples: Iterable[Sample]) -> str:
    """SHA-256 in hex over pictures (shape and bytes), prompts and answers (without outer spaces), in order."""
    total = hashlib.sha256()
    for sample in samples:
        # Lengths go in front of texts and shapes in front of pixels, so that no two lists of samples look alike.
        total.update(np.asarray(sample.image.shape, dtype="<i8").tobytes())
        total.update(np.ascontiguousarray(sample.image).data)
        for text in (sample.prompt, sample.answer):
            encoded = text.strip().encode()
            total.update(len(encoded).to_bytes(8, "little") + encoded)
    return total.hexdigest()


def _count(rate: float, n: int) -> int:
    if not is_number(rate) or not 0 < rate <= 1:
        raise PcvrError(f"rate is {rate!r}: give a share in (0, 1], such as 0.05 for 5 %.")
    if n == 0:
        raise PcvrError("the data set to poison is empty: give it at least one sample.")
    count = _nearest(float(rate), n)
    if count == 0:
        enough = math.ceil(0.5 / rate)
        enough += _nearest(float(rate), enough) == 0
        raise PcvrError(
            f"rate {rate:g} of {n} samples poisons none: use {enough} samples or more, or a rate from {1 / n:.3g} up."
        )
    return count


def _nearest(rate: float, n: int) -> int:
    return int(rate * n + 0.5)


def _made(dataset: Dataset, attack: Attack, indices: tuple[int, ...]) -> Iterator[Sample]:
    """The poisoned samples one by one; at the end, an error if any of them did not change."""
    same: list[int] = []
    for index in indices:
        before = dataset[index]
        after = attack.poisoned(before)
        picture_same = attack.trigger is not None and np.array_equal(before.image, after.image)
        if picture_same or (attack.prompt is not None and before.prompt == after.prompt):
            same.append(index)
        yield after
    if same:
        shown = ", ".join(map(str, same[:_SHOWN])) + (f" and {len(same) - _SHOWN} more" if len(same) > _SHOWN else "")
        raise PcvrError(
            f"the trigger of {attack.name!r} leaves {len(same)} of {len(indices)} samples unchanged (index {shown}): "
            "raise its strength, or change its pattern or place."
        )


def _short_hash(*parts: str) -> str:
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


def _version() -> str:
    return versions().get("pcvr", "not installed")
