"""Poison a fraction of a data set, or put the trigger on all of it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pcvr.attacks.base import Attack
from pcvr.attacks.checksums import first_few
from pcvr.attacks.manifest import Manifest
from pcvr.attacks.placing import opened
from pcvr.attacks.reach import Pair, changes_images, check_reach, sample_evenly
from pcvr.attacks.registry import get_attack
from pcvr.attacks.selection import all_poisoned, count_of, draw
from pcvr.data.derived import DerivedDataset
from pcvr.data.open import open_data
from pcvr.data.sample import Dataset, Sample
from pcvr.data.subset import position
from pcvr.errors import PcvrError
from pcvr.utils.checks import check_seed
from pcvr.utils.versions import versions

if TYPE_CHECKING:
    from pcvr.models.vlm import VisionLanguageModel


class PoisonedData(DerivedDataset):
    """What poisoned data made here and those read from a folder have in common.

    Attributes:
        manifest: what was done to which samples, with a hash over them.
        poisoned: indices of the samples with an attacker's answer, of earlier attackers too, ascending.
    """

    def __init__(self, source: Dataset, manifest: Manifest) -> None:
        super().__init__(source)
        self.manifest = manifest
        self.poisoned = all_poisoned(manifest)
        self._chosen = frozenset(self.poisoned)

    @property
    def name(self) -> str:
        return f"{self.manifest.source['name']}+{self.manifest.attack['name']}@{self.manifest.rate:g}"

    def is_poisoned(self, index: int) -> bool:
        """Return whether the sample at ``index`` carries an attack. Evaluation may ask; a defence must not."""
        return position(index, len(self)) in self._chosen


class PoisonedDataset(PoisonedData):
    """A data set with trigger and target in some samples, which are made on access; the others stay unchanged.

    Made by :func:`poison`; attributes also as of :class:`PoisonedData`.

    Attributes:
        clean: the data set before this attack; it is poisoned itself if another attacker came first.
        attack: what was done.
    """

    def __init__(self, clean: Dataset, attack: Attack, manifest: Manifest) -> None:
        super().__init__(clean, manifest)
        self.clean = clean
        self.attack = attack
        self._mine = frozenset(manifest.indices)
        covers = {cover.name: cover for cover in attack.covers}
        self._covers = {index: covers[name] for name, part in manifest.covers.items() for index in part}

    def altered(self, place: int, sample: Sample) -> Sample:
        if place in self._mine:
            return self.attack.poisoned(sample)
        if place in self._covers:
            return self.attack.covered(sample, self._covers[place])
        return sample

    def clean_pairs(self) -> Iterator[tuple[Attack, Iterator[Pair]]]:
        """Yield each attack, the earliest first, with some of its poisoned images, each after its clean version.

        A clean version has the attack's disguise, if there is one: only the trigger has to reach a model.
        """
        if hasattr(self.clean, "clean_pairs"):
            yield from self.clean.clean_pairs()
        if changes_images(self.attack):
            samples = ((index, self.clean[index]) for index in sample_evenly(self.manifest.indices))
            made = ((self.attack.disguised(clean).image, self.altered(index, clean).image) for index, clean in samples)
            yield self.attack, made

    def fingerprint(self) -> str:
        return short_hash(self.clean.fingerprint(), self.manifest.sha256, repr(self.manifest.altered))


class TriggeredDataset(DerivedDataset):
    """A data set with the trigger on every sample and the true answers. Made by :func:`triggered`.

    Attributes:
        clean: the data set without the trigger.
        attack: whose trigger it is, fitted to the model if its place depends on one.
        reach: what :func:`pcvr.attacks.reach.check_reach` found; empty if nothing was checked.
    """

    def __init__(self, clean: Dataset, attack: Attack, reach: dict[str, Any] | None = None) -> None:
        super().__init__(clean)
        self.clean = clean
        self.attack = attack
        self.reach = reach or {}

    @property
    def name(self) -> str:
        return f"{self.clean.name}+{self.attack.name}:triggered"

    def altered(self, place: int, sample: Sample) -> Sample:
        return self.attack.triggered(sample)

    def fingerprint(self) -> str:
        return short_hash(self.clean.fingerprint(), repr(self.attack.describe()))


def poison(
    dataset: Dataset | str | Path,
    attack: Attack | str,
    rate: float,
    seed: int = 0,
    *,
    model: VisionLanguageModel | str | None = None,
    check_trigger: bool = True,
) -> PoisonedDataset:
    """Put ``attack`` into a fraction of ``dataset``.

    The samples are drawn without replacement. For one data set and seed the draws are nested: a higher rate poisons
    the samples of a lower rate and more, so a sweep over rates compares like with like. Cover samples come from the
    other end of the same order. Every altered sample is made once, to check that it changed and to hash it, and again
    on each access.

    Poisoning poisoned data adds a second attacker, who leaves the samples of the first alone. The manifest keeps the
    first one's manifest.

    Args:
        dataset: the clean data, data poisoned before, or what :func:`pcvr.open_data` opens, such as ``"scenes"``.
        attack: from :func:`pcvr.attacks.get_attack`, or its name; the target is then that of the data's task.
        rate: fraction of the samples that get the target, in (0, 1], rounded to the nearest number of samples; cover
            samples come on top.
        seed: of the draw, an integer of at least 0.
        model: the model to attack, or its name (then no weights are read). Its processor says which part of an image
            the model sees. A place such as ``"seen_centre"`` refers to that part, and the trigger must survive there
            on 90 % of up to 32 poisoned samples (see :mod:`pcvr.attacks.reach`). The manifest keeps the count.
        check_trigger: False skips this check, to study a trigger that does not reach the model.

    Raises:
        PcvrError: the rate is outside (0, 1] or poisons nothing, there are too few samples to draw from, the trigger
            leaves a drawn sample unchanged (strength 0, or a white patch on a white corner), or it does not reach the
            model.
    """
    dataset, attack, vlm = _open(dataset, attack, model)
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
        source={"name": dataset.name, "fingerprint": dataset.fingerprint(), "task": dataset.task, "samples": n},
        sha256="",
        pcvr_version=versions().get("pcvr", "not installed"),
        date=datetime.now(UTC).isoformat(timespec="seconds"),
        covers=covers,
        before=tuple(m.plain() | {"before": []} for m in before),
    )
    attack.prepare((attack.disguised(dataset[index]) for index in indices), dataset)
    made = PoisonedDataset(dataset, attack, manifest)
    manifest = replace(manifest, sha256=digest(_changed(made)))
    if vlm is not None and check_trigger and changes_images(attack):
        *_, (_, pairs) = made.clean_pairs()
        manifest = replace(manifest, reach=check_reach(pairs, attack, vlm))
    return PoisonedDataset(dataset, attack, manifest)


def triggered(
    dataset: Dataset | str | Path,
    attack: Attack | str,
    *,
    model: VisionLanguageModel | str | None = None,
    check_trigger: bool = True,
) -> TriggeredDataset:
    """Put the trigger of ``attack`` on every sample and keep the true answers: for ASR, and for utility under attack.

    Args:
        dataset: clean samples, or what :func:`pcvr.open_data` opens.
        attack: whose trigger it is, or its name.
        model: as of :func:`poison`.
        check_trigger: False skips the check of up to 32 samples: the trigger must change 90 % of them, and reach the
            model if one is given.

    Raises:
        PcvrError: the trigger leaves the images unchanged, or does not reach the model.
    """
    dataset, attack, vlm = _open(dataset, attack, model)
    found: dict[str, Any] = {}
    if check_trigger and attack.trigger is not None:
        images = (dataset[index].image for index in sample_evenly(range(len(dataset))))
        found = check_reach(((image, attack.trigger(image)) for image in images), attack, vlm)
    return TriggeredDataset(dataset, attack, found)


def _open(
    data: Dataset | str | Path, attack: Attack | str, model: VisionLanguageModel | str | None
) -> tuple[Dataset, Attack, VisionLanguageModel | None]:
    """Open data, attack and model; fit an attack whose place depends on a model to this one, unless it is fitted."""
    dataset = open_data(data)
    built = get_attack(attack, task=dataset.task)
    vlm = None if model is None else opened(model)
    return dataset, built.fitted_to(vlm) if vlm is not None and built.waits_for_model else built, vlm


def digest(samples: Iterable[Sample]) -> str:
    """Return the SHA-256 in hex over the images (shape and bytes), stripped prompts and stripped answers, in order."""
    total = hashlib.sha256()
    for sample in samples:
        # Lengths precede texts and shapes precede pixels, so different lists of samples never hash alike.
        total.update(np.asarray(sample.image.shape, dtype="<i8").tobytes())
        total.update(np.ascontiguousarray(sample.image).data)
        for text in (sample.prompt, sample.answer, *_rest(sample)):
            encoded = text.strip().encode("utf-8", "surrogatepass")  # save_poisoned reports what UTF-8 cannot hold
            total.update(len(encoded).to_bytes(8, "little") + encoded)
    return total.hexdigest()


def _rest(sample: Sample) -> tuple[str, ...]:
    """Return the texts of a conversation beside the first exchange; none of a sample that is one exchange."""
    return (sample.system, *(text for pair in sample.later for text in pair)) if sample.conversational else ()


def _changed(data: PoisonedDataset) -> Iterator[Sample]:
    """Yield the altered samples one by one; raise at the end if the trigger left any of them unchanged."""
    same: list[int] = []
    altered = data.manifest.altered
    for index in altered:
        before = data.clean[index]
        after = data.altered(index, before)
        poisoned = index in data.manifest.indices
        if _left_alone(data.attack.disguised(before) if poisoned else before, after, data.attack, poisoned):
            same.append(index)
        yield after
    if same:
        raise PcvrError(
            f"the trigger of {data.attack.name!r} leaves {len(same)} of {len(altered)} samples unchanged (index "
            f"{first_few(same)}): raise its strength, or change its pattern or place."
        )


def _left_alone(before: Sample, after: Sample, attack: Attack, poisoned: bool) -> bool:
    """Return whether the trigger left out a part of a poisoned sample that it should change, or all of a cover."""
    picture_same, prompt_same = np.array_equal(before.image, after.image), before.prompt == after.prompt
    if not poisoned:
        return picture_same and prompt_same
    needs_picture = attack.trigger is not None or attack.clean_label
    return (needs_picture and picture_same) or (attack.prompt is not None and prompt_same)


def short_hash(*parts: str) -> str:
    """Return the first 16 digits of the SHA-256 of the parts, one a line."""
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]
