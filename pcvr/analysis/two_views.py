"""Read a model twice: its answer's distributions on an image and on a patch view of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from pcvr.defenses.losses import entropy, js_divergence
from pcvr.errors import PcvrError
from pcvr.evaluation.generate import generate
from pcvr.models.encode import Batch, collate
from pcvr.models.forward import AnswerLogits, answer_logits
from pcvr.models.layout import viewed
from pcvr.models.pictures import encode_answers, to_pictures
from pcvr.models.vocab import vocabulary
from pcvr.utils.checks import check_choice, check_seed

if TYPE_CHECKING:
    from pcvr.attacks import Attack
    from pcvr.data.sample import Sample
    from pcvr.models.vlm import VisionLanguageModel
    from pcvr.views import PatchView

FORCES = ("own", "true", "target")
"""Texts for teacher forcing: the model's own greedy answer to the original image, the true answer of the data, or the
attacker's target. At token t the model has read the image and the first t - 1 tokens."""


@dataclass(frozen=True)
class ViewTrace:
    """The distributions at each token of one answer, on the original image and on the view.

    Attributes:
        text: the answer on which both passes are conditioned.
        tokens: its T tokens, the end of the answer last.
        original: ``[T, V]``, probabilities on the original image.
        view: ``[T, V]``, probabilities on the view.
        divergence: ``[T]``, Jensen-Shannon divergence of the two, nats in [0, ln 2].
        entropy: ``[T]``, entropy on the original, nats.
        view_entropy: ``[T]``, entropy on the view, nats.
        image: uint8 ``[H, W, 3]``, the image as the tower gets it.
        view_image: uint8 ``[H, W, 3]``, the view as the tower gets it.
        words: the V words of the vocabulary.
    """

    text: str
    tokens: tuple[str, ...]
    original: np.ndarray
    view: np.ndarray
    divergence: np.ndarray
    entropy: np.ndarray
    view_entropy: np.ndarray
    image: np.ndarray
    view_image: np.ndarray
    words: tuple[str, ...]

    def top(self, token: int, count: int = 6) -> list[tuple[str, float, float]]:
        """Return the likeliest words at one token on either view: ``(word, p on the original, p on the view)``.

        Args:
            token: position in the answer, 0 to T - 1.
            count: number of words.

        Raises:
            PcvrError: there is no such token.
        """
        if not 0 <= token < len(self.tokens):
            last = len(self.tokens) - 1
            raise PcvrError(f"token {token} is outside an answer of {last + 1} tokens: give 0 to {last}.")
        p, q = self.original[token], self.view[token]
        order = np.argsort(-np.maximum(p, q), kind="stable")[:count]
        return [(self.words[i], float(p[i]), float(q[i])) for i in order]

    def in_words(self, count: int = 3) -> str:
        """Say at which tokens original and view differ most and least.

        Args:
            count: number of tokens of each kind, at least 1.
        """
        order = np.argsort(-self.divergence, kind="stable")
        count = min(count, len(order))

        def named(places: np.ndarray) -> str:
            return ", ".join(f"{self.tokens[i]} ({self.divergence[i]:.2f})" for i in places)

        return f"most at: {named(order[:count])}; least at: {named(order[::-1][:count])} (nats)"


def two_views(
    stages: Mapping[str, VisionLanguageModel],
    samples: Sequence[Sample],
    attack: Attack,
    view: PatchView,
    seed: int = 0,
    force: str = "own",
) -> dict[tuple[str, str], list[ViewTrace]]:
    """Trace every sample, clean and triggered, with every model.

    Args:
        stages: name to model, such as ``{"backdoored": ..., "defended": ...}``.
        samples: clean samples, at least two for the swap operator.
        attack: the attack with the trigger.
        view: how to make the view; clean and triggered images and all models get the same patches.
        seed: of the view.
        force: one of `FORCES`.

    Returns:
        ``(stage, "clean" | "triggered")`` -> one `ViewTrace` for each sample.
    """
    return {
        (name, shown): trace_views(vlm, samples, view, seed, attack if shown == "triggered" else None, force, attack)
        for name, vlm in stages.items()
        for shown in ("clean", "triggered")
    }


def trace_views(
    vlm: VisionLanguageModel,
    samples: Sequence[Sample],
    view: PatchView,
    seed: int = 0,
    attack: Attack | None = None,
    force: str = "own",
    target: str | Attack = "",
) -> list[ViewTrace]:
    """Trace one model on some samples and on one view of each.

    Args:
        vlm: the model.
        samples: clean samples.
        view: how to make the view.
        seed: of the view.
        attack: the attack with the trigger; None for clean images.
        force: one of `FORCES`.
        target: the text for ``force="target"``, or an attack that names one for each sample; `attack` comes first.

    Raises:
        PcvrError: there is no sample or no target, or `force` is unknown.
    """
    return trace_answers(vlm, samples, forced_answers(vlm, samples, attack, force, target), view, seed, attack)


def trace_answers(
    vlm: VisionLanguageModel,
    samples: Sequence[Sample],
    said: Sequence[str],
    view: PatchView,
    seed: int = 0,
    attack: Attack | None = None,
) -> list[ViewTrace]:
    """Trace one model like `trace_views`, conditioned on given texts, one for each sample."""
    rows, seen = with_views(vlm, samples, said, view, seed, attack)
    pad = vlm.tokenizer.pad_token_id
    with torch.inference_mode():
        pair = answer_logits(vlm, collate(rows, pad)), answer_logits(vlm, collate(seen, pad))
    images = zip(to_pictures(vlm, rows), to_pictures(vlm, seen), strict=True)
    words = vocabulary(vlm, pair[0].logits.shape[1])
    return [view_trace(text, pair, row, each, words) for row, (text, each) in enumerate(zip(said, images, strict=True))]


def forced_answers(
    vlm: VisionLanguageModel, samples: Sequence[Sample], attack: Attack | None, force: str, target: str | Attack = ""
) -> list[str]:
    """Return the texts on which the distributions are conditioned, one a sample; arguments as in `trace_views`."""
    if not samples:
        raise PcvrError("there are no samples to trace: give at least one, and two or more for the swap operator.")
    check_choice("force", force, FORCES)
    if force == "own":
        shown = shown_samples(samples, attack)
        return generate(vlm, [s.image for s in shown], [s.prompt for s in shown], guard=False)
    if force == "true":
        return [s.answer for s in samples]
    wanted = attack or target
    if not wanted:
        raise PcvrError("force is 'target', but there is no target: give the attack, or target=.")
    return target_texts(samples, wanted)


def target_texts(samples: Sequence[Sample], target: str | Attack) -> list[str]:
    """Return the attacker's text for each clean sample; a text is the same for all."""
    return [target if isinstance(target, str) else target.target_on(s) for s in samples]


def with_views(
    vlm: VisionLanguageModel,
    samples: Sequence[Sample],
    said: Sequence[str],
    view: PatchView,
    seed: int | torch.Generator,
    attack: Attack | None,
) -> tuple[list[Batch], list[Batch]]:
    """Encode the samples with these answers, and again with one view of each image.

    Views are made of pixels whatever level `view` names, so that they can be shown. Patches for the swap operator come
    from the next clean image, so clean and triggered views with one seed differ by the trigger alone.
    """
    rows = encode_answers(vlm, shown_samples(samples, attack), said)
    clean = rows if attack is None else encode_answers(vlm, samples, said)
    if not isinstance(seed, torch.Generator):
        check_seed(seed)
        seed = torch.Generator().manual_seed(seed)
    donors = [*clean[1:], clean[0]] if len(clean) > 1 else None
    seen = viewed(vlm, rows, donors, view, seed)
    return rows, [row | {"pixel_values": pixels} for row, pixels in zip(rows, seen, strict=True)]


def shown_samples(samples: Sequence[Sample], attack: Attack | None) -> list[Sample]:
    """Return the samples, with the trigger if there is an attack."""
    return list(samples) if attack is None else [attack.triggered(s) for s in samples]


def view_pictures(
    vlm: VisionLanguageModel, samples: Sequence[Sample], view: PatchView, seed: int = 0
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Return the images and a view of each, as the tower gets them: uint8 ``[H, W, 3]`` each."""
    rows, seen = with_views(vlm, samples, [s.answer for s in samples], view, seed, None)
    return to_pictures(vlm, rows), to_pictures(vlm, seen)


def view_trace(
    text: str,
    pair: tuple[AnswerLogits, AnswerLogits],
    row: int,
    images: tuple[np.ndarray, np.ndarray],
    words: tuple[str, ...],
) -> ViewTrace:
    """Build the trace of one sample, number `row` in the batch, from the logits and images of original and view."""
    first, second = pair
    own = first.owner == row
    p, q = first.logits[own], second.logits[own]
    return ViewTrace(
        text=text,
        tokens=tuple(words[i] for i in first.targets[own].tolist()),
        original=p.softmax(-1).cpu().numpy(),
        view=q.softmax(-1).cpu().numpy(),
        divergence=js_divergence(p, q).cpu().numpy(),
        entropy=entropy(p).cpu().numpy(),
        view_entropy=entropy(q).cpu().numpy(),
        image=images[0],
        view_image=images[1],
        words=words,
    )
