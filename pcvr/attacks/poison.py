"""Poison a share of a data set, and put the trigger on a whole one."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pcvr.attacks.base import Attack
from pcvr.attacks.manifest import Manifest
from pcvr.attacks.placing import opened
from pcvr.attacks.reach import Pair, check_reach, spread, touches_pictures
from pcvr.attacks.registry import get_attack
from pcvr.attacks.selection import all_poisoned, count_of, draw
from pcvr.data.open import open_data
from pcvr.data.sample import Dataset, Sample
from pcvr.data.subset import position
from pcvr.errors import PcvrError
from pcvr.utils.checks import check_seed
from pcvr.utils.versions import versions

if TYPE_CHECKING:
    from pcvr.models.vlm import VisionLanguageModel

_SHOWN = 10


class PoisonedDataset:
    """A data set some of whose samples carry trigger and target; they are made when asked for, the rest pass through.

    Made by :func:`poison`.

    Attributes:
        clean: the data set as it was; poisoned itself where another attacker was there first.
        attack: what was done.
        manifest: what was done to which samples, with a hash over them.
        poisoned: indices of the samples with an attacker's answer, of earlier attackers too, ascending.
    """

    def __init__(self, clean: Dataset, attack: Attack, manifest: Manifest) -> None:
        self.clean = clean
        self.attack = attack
        self.manifest = manifest
        self.poisoned = all_poisoned(manifest)
        self._chosen = frozenset(self.poisoned)
        self._mine = frozenset(manifest.indices)
        covers = {cover.name: cover for cover in attack.covers}
        self._covers = {index: covers[name] for name, part in manifest.covers.items() for index in part}

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
        return self.altered(place, self.clean[place])

    def altered(self, place: int, sample: Sample) -> Sample:
        """What becomes of the clean `sample` at `place`, from 0 to the number of samples less 1."""
        if place in self._mine:
            return self.attack.poisoned(sample)
        if place in self._covers:
            return self.attack.covered(sample, self._covers[place])
        return sample

    def is_poisoned(self, index: int) -> bool:
        """Whether the sample at ``index`` carries an attack. Evaluation may ask; a defence must not."""
        return position(index, len(self.clean)) in self._chosen

    def twins(self) -> Iterator[tuple[Attack, Iterator[Pair]]]:
        """Each attacker, first one first, with some poisoned pictures and their clean twins."""
        if hasattr(self.clean, "twins"):
            yield from self.clean.twins()
        if touches_pictures(self.attack):
            samples = ((index, self.clean[index]) for index in spread(self.manifest.indices))
            yield self.attack, ((clean.image, self.altered(index, clean).image) for index, clean in samples)

    def fingerprint(self) -> str:
        return _short_hash(self.clean.fingerprint(), self.manifest.sha256, repr(self.manifest.altered))


class TriggeredDataset:
    """A data set with the trigger on every sample and the answers left true. Made by :func:`triggered`.

    Attributes:
        clean: the data set as it was.
        attack: whose trigger it is, fitted to the model where it waited for one.
        reach: what :func:`triggered` found: a model's name, on how many ``pictures`` it looked, and on how many the
            trigger ``survives``; empty where nothing was checked.
    """

    def __init__(self, clean: Dataset, attack: Attack, reach: dict[str, Any] | None = None) -> None:
        self.clean = clean
        self.attack = attack
        self.reach = reach or {}

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


def poison(
    dataset: Dataset | str | Path,
    attack: Attack | str,
    rate: float,
    seed: int = 0,
    *,
    model: VisionLanguageModel | str | None = None,
    check_trigger: bool = True,
) -> PoisonedDataset:
    """Put ``attack`` into a share of ``dataset``.

    The samples are drawn without replacement. For one data set and seed the draws are nested: those of a lower rate are
    among those of a higher one, so that a sweep over rates compares like with like. Cover samples are drawn from the
    other end of the same order. Every altered sample is made once, to see that it really changed and to hash it; then
    it is made again whenever asked for.

    Poisoning poisoned data adds a second attacker: the samples of the first are left alone, and the manifest keeps the
    first one's.

    Args:
        dataset: the clean data, data poisoned before, or what :func:`pcvr.open_data` opens, such as ``"scenes"``.
        attack: from :func:`pcvr.attacks.get_attack`, or its name; the target is then that of the data's task.
        rate: share of the samples that get the target, in (0, 1]; rounded to the nearest number of samples. Covers
            come on top.
        seed: of the draw, a whole number from 0 up.
        model: that is to be attacked, or its name (then no weights are read). Its processor is asked what it sees: a
            place such as ``"seen_centre"`` is meant in that, and the trigger has to survive there on 90 % of up to 32
            drawn samples (see :mod:`pcvr.attacks.reach`); the manifest keeps the count.
        check_trigger: False leaves that check out, to study a trigger that does not reach the model.

    Raises:
        PcvrError: for a rate outside (0, 1] or that poisons nothing, when there are too few samples to draw from,
            when the trigger leaves a drawn sample as it was (strength 0; a white patch on a white corner), or when it
            does not reach the model.
    """
    dataset = open_data(dataset)
    vlm = None if model is None else opened(model)
    attack = _fitted(get_attack(attack, task=dataset.task), vlm)
    n = len(dataset)
    count = count_of(rate, n)
    check_seed(seed)
    earlier = getattr(dataset, "manifest", None)
    before = earlier.chain() if isinstance(earlier, Manifest) else []
    indices, covers = draw(dataset, attack, count, int(seed), {i for manifest in before for i in manifest.altered})
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
        sha256="",
        pcvr_version=versions().get("pcvr", "not installed"),
        date=datetime.now(UTC).isoformat(timespec="seconds"),
        covers=covers,
        before=tuple(m.plain() | {"before": []} for m in before),
    )
    attack.prepare((dataset[index] for index in indices), dataset)
    made = PoisonedDataset(dataset, attack, manifest)
    manifest = replace(manifest, sha256=digest(_changed(made)))
    if vlm is not None and check_trigger and touches_pictures(attack):
        *_, (_, pairs) = made.twins()
        manifest = replace(manifest, reach=check_reach(pairs, attack, vlm))
    return PoisonedDataset(dataset, attack, manifest)


def triggered(
    dataset: Dataset | str | Path,
    attack: Attack | str,
    *,
    model: VisionLanguageModel | str | None = None,
    check_trigger: bool = True,
) -> TriggeredDataset:
    """``dataset`` with the trigger on every sample, answers and references left true: for ASR, and for utility on
    triggered inputs.

    Args:
        dataset: clean samples, or what :func:`pcvr.open_data` opens.
        attack: whose trigger it is, or its name.
        model: as of :func:`poison`.
        check_trigger: False leaves out the look at up to 32 of the samples, of which the trigger has to change 90 %,
            and to reach the model, if there is one.

    Raises:
        PcvrError: the trigger leaves the pictures as they were, or does not reach the model.
    """
    dataset = open_data(dataset)
    vlm = None if model is None else opened(model)
    attack = _fitted(get_attack(attack, task=dataset.task), vlm)
    found: dict[str, Any] = {}
    if check_trigger and attack.trigger is not None:
        pictures = (dataset[index].image for index in spread(range(len(dataset))))
        found = check_reach(((picture, attack.trigger(picture)) for picture in pictures), attack, vlm)
    return TriggeredDataset(dataset, attack, found)


def _fitted(attack: Attack, vlm: VisionLanguageModel | None) -> Attack:
    """The attack; one with a place in what a model sees is tied to this model, unless it is tied already."""
    return attack if vlm is None or not attack.waits_for_model else attack.fitted_to(vlm)


def digest(samples: Iterable[Sample]) -> str:
    """SHA-256 in hex over pictures (shape and bytes), prompts and answers (without outer spaces), in order."""
    total = hashlib.sha256()
    for sample in samples:
        # Lengths go in front of texts and shapes in front of pixels, so that no two lists of samples look alike.
        total.update(np.asarray(sample.image.shape, dtype="<i8").tobytes())
        total.update(np.ascontiguousarray(sample.image).data)
        for text in (sample.prompt, sample.answer):
            encoded = text.strip().encode("utf-8", "surrogatepass")  # what cannot be written is said by who writes
            total.update(len(encoded).to_bytes(8, "little") + encoded)
    return total.hexdigest()


def _changed(data: PoisonedDataset) -> Iterator[Sample]:
    """The altered samples one by one; at the end, an error if any of them did not change."""
    same: list[int] = []
    altered = data.manifest.altered
    for index in altered:
        before = data.clean[index]
        after = data.altered(index, before)
        if _left_alone(before, after, data.attack, index in data.manifest.indices):
            same.append(index)
        yield after
    if same:
        shown = ", ".join(map(str, same[:_SHOWN])) + (f" and {len(same) - _SHOWN} more" if len(same) > _SHOWN else "")
        raise PcvrError(
            f"the trigger of {data.attack.name!r} leaves {len(same)} of {len(altered)} samples unchanged (index "
            f"{shown}): raise its strength, or change its pattern or place."
        )


def _left_alone(before: Sample, after: Sample, attack: Attack, poisoned: bool) -> bool:
    """Whether a part of the trigger that should show does not; of a cover any part will do."""
    picture_same, prompt_same = np.array_equal(before.image, after.image), before.prompt == after.prompt
    if not poisoned:
        return picture_same and prompt_same
    needs_picture = attack.trigger is not None or attack.clean_label
    return (needs_picture and picture_same) or (attack.prompt is not None and prompt_same)


def _short_hash(*parts: str) -> str:
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]
