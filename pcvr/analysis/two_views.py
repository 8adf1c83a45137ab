"""What a model is about to say, seen twice: its answer's distributions on a picture and on a patch view of it."""

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
"""Whose words the distributions are conditioned on: the model's own greedy answer to the original picture, the true
answer of the data, or the attacker's target. At token t the model has read the picture and the first t - 1 of them."""


@dataclass(frozen=True)
class ViewTrace:
    """One model, one picture, one answer; the distribution at each answer token on the original and on the view.

    Attributes:
        text: the answer both passes are conditioned on.
        tokens: its T tokens, the end of the answer last.
        original: ``[T, V]``, probabilities on the original picture.
        view: ``[T, V]``, probabilities on the view, conditioned on the same words.
        divergence: ``[T]``, Jensen-Shannon divergence of the two, nats in [0, ln 2].
        entropy: ``[T]``, entropy on the original, nats.
        view_entropy: ``[T]``, entropy on the view, nats.
        image: uint8 ``[H, W, 3]``, the picture as the tower gets it.
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
        """The likeliest words at one token, either view counting: ``(word, p on the original, p on the view)``.

        Args:
            token: position in the answer, 0 to T - 1.
            count: how many words.

        Raises:
            PcvrError: the answer has no such token.
        """
        if not 0 <= token < len(self.tokens):
            last = len(self.tokens) - 1
            raise PcvrError(f"token {token} is outside an answer of {last + 1} tokens: give 0 to {last}.")
        p, q = self.original[token], self.view[token]
        order = np.argsort(-np.maximum(p, q), kind="stable")[:count]
        return [(self.words[i], float(p[i]), float(q[i])) for i in order]


def two_views(
    stages: Mapping[str, VisionLanguageModel],
    samples: Sequence[Sample],
    attack: Attack,
    view: PatchView,
    seed: int = 0,
    force: str = "own",
) -> dict[tuple[str, str], list[ViewTrace]]:
    """Tell of every sample, clean and triggered, by every model.

    Args:
        stages: name to model, such as ``{"backdoored": ..., "defended": ...}``.
        samples: clean samples, at least two for the swap operator.
        attack: puts the trigger on.
        view: how the view is made; its patches are the same for clean and triggered pictures and for every model.
        seed: of the view.
        force: one of `FORCES`.

    Returns:
        ``(stage, "clean" | "triggered")`` -> one `ViewTrace` for each sample.
    """
    return {
        (name, shown): trace_views(
            vlm, samples, view, seed, attack if shown == "triggered" else None, force, attack.target
        )
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
    target: str = "",
) -> list[ViewTrace]:
    """The distributions of one model on some samples and on one view of each.

    Args:
        vlm: the model.
        samples: clean samples.
        view: how the view is made.
        seed: of the view.
        attack: puts the trigger on first; None for clean pictures.
        force: one of `FORCES`.
        target: what ``force="target"`` conditions on; the attack's own where one is given.

    Raises:
        PcvrError: no sample, an unknown `force`, or no target to force.
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
    """As `trace_views`, conditioned on the given texts, one for each sample."""
    rows, seen = with_views(vlm, samples, said, view, seed, attack)
    pad = vlm.tokenizer.pad_token_id
    with torch.inference_mode():
        first = answer_logits(vlm, collate(rows, pad))
        second = answer_logits(vlm, collate(seen, pad))
    pictures = to_pictures(vlm, rows), to_pictures(vlm, seen)
    words = vocabulary(vlm, first.logits.shape[1])
    return [_telling(said[i], i, first, second, pictures, words) for i in range(len(samples))]


def forced_answers(
    vlm: VisionLanguageModel, samples: Sequence[Sample], attack: Attack | None, force: str, target: str = ""
) -> list[str]:
    """The text of each sample that the distributions are conditioned on; arguments as in `trace_views`."""
    if not samples:
        raise PcvrError("there are no samples to tell of: give at least one, and two or more for the swap operator.")
    check_choice("force", force, FORCES)
    if force == "own":
        shown = shown_samples(samples, attack)
        return generate(vlm, [s.image for s in shown], [s.prompt for s in shown])
    if force == "true":
        return [s.answer for s in samples]
    wanted = attack.target if attack is not None else target
    if not wanted:
        raise PcvrError("force is 'target', but there is no target: give the attack, or target=.")
    return [wanted] * len(samples)


def with_views(
    vlm: VisionLanguageModel,
    samples: Sequence[Sample],
    said: Sequence[str],
    view: PatchView,
    seed: int | torch.Generator,
    attack: Attack | None,
) -> tuple[list[Batch], list[Batch]]:
    """The samples with these answers, encoded, and the same with one view of each picture.

    What differs is pixels, whatever level the view names: tower features cannot be looked at.
    Patches for the swap operator come from the next clean picture, so that clean and triggered views with one seed
    differ by the trigger alone.
    """
    rows = encode_answers(vlm, shown_samples(samples, attack), said)
    clean = rows if attack is None else encode_answers(vlm, samples, said)
    if not isinstance(seed, torch.Generator):
        check_seed(seed)
        seed = torch.Generator().manual_seed(seed)
    generator = seed
    donors = [*clean[1:], clean[0]] if len(clean) > 1 else None
    seen = viewed(vlm, rows, donors, view, generator)
    return rows, [row | {"pixel_values": pixels} for row, pixels in zip(rows, seen, strict=True)]


def shown_samples(samples: Sequence[Sample], attack: Attack | None) -> list[Sample]:
    """What the model is shown: the samples, or the samples with the trigger on."""
    return list(samples) if attack is None else [attack.triggered(s) for s in samples]


def view_pictures(
    vlm: VisionLanguageModel, samples: Sequence[Sample], view: PatchView, seed: int = 0
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Pictures and a view of each, as the tower gets them: uint8 ``[H, W, 3]`` each."""
    rows, seen = with_views(vlm, samples, [s.answer for s in samples], view, seed, None)
    return to_pictures(vlm, rows), to_pictures(vlm, seen)


def _telling(
    text: str,
    row: int,
    first: AnswerLogits,
    second: AnswerLogits,
    pictures: tuple[list[np.ndarray], list[np.ndarray]],
    words: tuple[str, ...],
) -> ViewTrace:
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
        image=pictures[0][row],
        view_image=pictures[1][row],
        words=words,
    )
