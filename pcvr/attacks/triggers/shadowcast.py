"""Shadowcast style: every text is true and every image looks normal, yet the model learns to mistake a concept."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from pcvr.attacks.base import Attack
from pcvr.attacks.registry import from_preset, register_attack
from pcvr.data.sample import Dataset, Sample
from pcvr.errors import PcvrError
from pcvr.utils.checks import check_fields, check_number, check_whole

if TYPE_CHECKING:
    from pcvr.models.vlm import VisionLanguageModel

PRESETS: dict[str, dict[str, Any]] = {
    "compat": {"epsilon": 8.0, "step": 0.2, "steps": 4000},
    "scaled": {"epsilon": 8.0, "step": 0.2, "steps": 200},
}
_ANCHORS = 256  # candidate images of the original concept


@dataclass(frozen=True)
class Crafting:
    """How :class:`Shadowcast` crafts its images.

    Attributes:
        original: the word for the concept to be mistaken.
        epsilon: the largest change of a level, 0 to 255.
        step: of the sign gradient, in levels, above 0; halved after half of the steps.
        steps: number of steps.
        model: embedded name, folder or hub id of the model with the tower.
        batch_size: images in a batch.
    """

    original: str = "car"
    epsilon: float = 8.0
    step: float = 0.2
    steps: int = 200
    model: str = "tiny-llava"
    batch_size: int = 32

    def __post_init__(self) -> None:
        check_fields(self)
        if not self.original.strip():
            raise PcvrError(f"original is {self.original!r}: give the word for the concept to be mistaken.")
        check_number("epsilon", self.epsilon, 0, 255, "levels")
        check_number("step", self.step, 0, 255, "levels", above=True)
        check_whole("steps", self.steps, 0)
        check_whole("batch_size", self.batch_size, 1)


@dataclass(frozen=True)
class Shadowcast(Attack):
    """A clean-label attack after Xu et al., *Shadowcast: Stealthy Data Poisoning Attacks against Vision-Language
    Models* (arXiv 2402.06659, section 3).

    A poisoned sample shows the *destination* concept (the target), and its answer truly says so. Its image changes by
    at most ``epsilon`` levels, so that the tower's features approach those of an image of the *original* concept::

        min |F(x + d) - F(x_original)|^2   with |d|_inf <= epsilon

    by steps along the sign of the gradient; the best iterate is kept. A model trained on such pairs learns to name the
    destination when it sees features of the original. There is no trigger at test time: the attack aims at samples
    whose true answer names the original and not the destination, and a hit is an answer that names the destination.

    The paper takes 4000 steps of 0.2/255, halved after half of them (preset ``compat``); ``scaled`` takes 200, after
    which a tiny tower hardly moves. The attack fails on the embedded models: within 8 levels their features cover only
    a small part of the way, and most crafted images still look like the destination to them.

    Attributes:
        crafting: how images are crafted, and the original concept.
        crafted: finished images by sample id; filled by :meth:`prepare`.
    """

    crafting: Crafting = field(default_factory=Crafting)
    crafted: dict[str, np.ndarray] = field(default_factory=dict, repr=False, compare=False)

    @property
    def clean_label(self) -> bool:
        """Whether poisoned answers are true of their images: always."""
        return True

    def candidate(self, sample: Sample) -> bool:
        """Return whether the sample shows the destination and not the original."""
        return names(sample, self.target) and not names(sample, self.crafting.original)

    def aims_at(self, sample: Sample) -> bool:
        """Return whether the sample shows the original and not the destination."""
        return names(sample, self.crafting.original) and not names(sample, self.target)

    def prepare(self, samples: Iterable[Sample], source: Dataset | None = None) -> None:
        """Craft the images of these samples in batches.

        Args:
            samples: the samples to poison.
            source: data with images of the original concept.

        Raises:
            PcvrError: there is no source, or none of its samples shows the original alone.
        """
        missing = [sample for sample in samples if sample.id not in self.crafted]
        if not missing:
            return
        if source is None:
            raise PcvrError("Shadowcast needs data that show the original concept: call poison(), which passes them.")
        shape = missing[0].image.shape
        anchors = [sample.image for sample in _first(source, self.aims_at, _ANCHORS) if sample.image.shape == shape]
        if not anchors:
            raise PcvrError(
                f"no sample of {source.name!r} names {self.crafting.original!r} without {self.target!r}: choose "
                "another original, or give data that show it."
            )
        pairs = [anchors[int(k)] for k in np.random.default_rng(0).integers(0, len(anchors), len(missing))]
        made = craft(_model(self.crafting.model), [s.image for s in missing], pairs, self.crafting)
        self.crafted.update({sample.id: image for sample, image in zip(missing, made, strict=True)})

    def poisoned(self, sample: Sample) -> Sample:
        """Return the sample with its crafted image and the true answers.

        Raises:
            PcvrError: its image was not crafted.
        """
        if sample.id not in self.crafted:
            raise PcvrError(
                f"the image of sample {sample.id!r} was not crafted: call poison(), which crafts what it draws."
            )
        return replace(sample, image=self.crafted[sample.id])

    def describe(self) -> dict[str, Any]:
        """Name and every option, ready for JSON."""
        return super().describe() | {"crafting": asdict(self.crafting)}


def craft(
    vlm: VisionLanguageModel,
    images: Sequence[np.ndarray],
    anchors: Sequence[np.ndarray],
    how: Crafting,
    progress: bool = False,
) -> list[np.ndarray]:
    """Move the features of each image towards those of its anchor.

    Args:
        vlm: the model with the tower.
        images: uint8 ``[H, W, 3]``, all of one size.
        anchors: as many, of the same size.
        how: bounds and steps.
        progress: whether to show a bar.

    Returns:
        uint8 images, each within ``epsilon`` of its original in every level.
    """
    import torch
    from tqdm.auto import tqdm

    from pcvr.models.embed import as_levels, embed

    made: list[np.ndarray] = []
    for start in tqdm(range(0, len(images), how.batch_size), desc="craft images", disable=not progress):
        clean = as_levels(np.stack(images[start : start + how.batch_size]))
        with torch.no_grad():
            wanted = embed(vlm, as_levels(np.stack(anchors[start : start + how.batch_size])))
        low, high = (clean - how.epsilon).clamp(min=0).ceil(), (clean + how.epsilon).clamp(max=255).floor()
        current, best = clean.clone(), clean.clone()
        least = torch.full((len(clean),), torch.inf)
        for step in range(how.steps + 1):
            current.requires_grad_()
            # Images hold integer levels, and a tower may react to values between them: take the features and gradient
            # of the rounded image.
            whole = current + (current.round() - current).detach()
            apart = (embed(vlm, whole) - wanted).square().flatten(1).mean(1)
            (gradient,) = torch.autograd.grad(apart.sum(), [current])
            with torch.no_grad():
                better = apart.detach() < least
                best[better], least[better] = whole.detach()[better], apart.detach()[better]
                size = how.step if step < how.steps / 2 else how.step / 2
                current = (current - size * gradient.sign()).clamp(low, high).detach()
        levels = best.round().to(torch.uint8)
        made += list(levels.permute(0, 2, 3, 1).numpy())
    return made


def _first(source: Dataset, wanted: Any, count: int) -> list[Sample]:
    found = []
    for index in range(len(source)):
        sample = source[index]
        if wanted(sample):
            found.append(sample)
            if len(found) == count:
                break
    return found


def names(sample: Sample, concept: str) -> bool:
    """Return whether any true answer names the concept, in whole words."""
    pattern = rf"\b{re.escape(concept.lower())}\b"
    return any(re.search(pattern, text.lower()) for text in (sample.answer, *sample.references))


@lru_cache(maxsize=1)
def _model(name: str) -> VisionLanguageModel:
    from pcvr.models.load import load

    return load(name)


@register_attack("shadowcast", target="house")
def shadowcast(target: str = "house", preset: str = "scaled", **options: Any) -> Attack:
    """Build the Shadowcast style attack; ``target`` is the destination concept, a word.

    It is "house" by default: the data show nothing that the tasks' targets name.
    """
    crafting = from_preset("shadowcast", Crafting, PRESETS, preset, options)
    return Shadowcast("shadowcast", target=target, preset=preset, crafting=crafting)
