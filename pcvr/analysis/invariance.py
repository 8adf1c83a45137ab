"""Measure cross-view divergence and entropy over many images, clean and triggered."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from pcvr.analysis.two_views import forced_answers, shown_samples, target_texts, with_views
from pcvr.defenses.losses import entropy, js_divergence
from pcvr.errors import PcvrError
from pcvr.evaluation.generate import generate
from pcvr.evaluation.success_criteria import says_target, success_of
from pcvr.models.encode import Batch, collate
from pcvr.models.forward import answer_logits
from pcvr.models.pictures import encode_answers, overview, to_pictures
from pcvr.tasks import get_task
from pcvr.utils.checks import check_choice, check_seed

if TYPE_CHECKING:
    from pcvr.attacks import Attack
    from pcvr.data.sample import Dataset, Sample
    from pcvr.defenses.context import TrainingContext
    from pcvr.defenses.pcvr.defense import PCVR
    from pcvr.defenses.pcvr.gate import Gate
    from pcvr.models.vlm import VisionLanguageModel
    from pcvr.views import PatchView


FIGURES = ("target", "divergence", "whole", "entropy", "view_entropy")
"""What `by_stage` can regroup."""


@dataclass(frozen=True)
class Invariance:
    """Figures of one model on N images: means over the views, and over the answer's tokens unless stated otherwise.

    Attributes:
        target: ``[N]``, probability of the attacker's whole target on the original, including its end token.
        divergence: ``[N]``, Jensen-Shannon divergence between original and view, nats in [0, ln 2].
        whole: ``[N]``, the same summed over the answer's tokens, nats.
        entropy: ``[N]``, entropy on the original, nats.
        view_entropy: ``[N]``, entropy on the view, nats.
        trigger_left: ``[N]``, fraction of the trigger's pixels that the view keeps; NaN without a trigger.
        answers: the N texts on which the distributions are conditioned.
        says_target: ``[N]`` bool, whether the text contains the attacker's target.
    """

    target: np.ndarray
    divergence: np.ndarray
    whole: np.ndarray
    entropy: np.ndarray
    view_entropy: np.ndarray
    trigger_left: np.ndarray
    answers: tuple[str, ...]
    says_target: np.ndarray


def measure_invariance(
    vlm: VisionLanguageModel,
    data: Dataset,
    attack: Attack,
    view: PatchView,
    *,
    shown: str = "clean",
    views: int = 1,
    seed: int = 0,
    force: str = "own",
    batch_size: int = 64,
) -> Invariance:
    """Measure divergence and entropy on every sample of `data`.

    Args:
        vlm: the model.
        data: clean samples.
        attack: the attack with trigger and target.
        view: how to make the views, always of pixels; one seed gives clean and triggered images the same patches.
        shown: ``"clean"`` or ``"triggered"``.
        views: number of views to average.
        seed: of the views.
        force: which answer is read, see `pcvr.analysis.two_views.FORCES`.
        batch_size: images in a batch.

    Raises:
        PcvrError: there are no data or no views, or `shown` is unknown.
    """
    if shown not in ("clean", "triggered"):
        raise PcvrError(f"shown is {shown!r}: give 'clean' or 'triggered'.")
    if len(data) == 0 or views < 1:
        raise PcvrError(f"{len(data)} samples and {views} views: give at least one of each.")
    applied = attack if shown == "triggered" else None
    check_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    success = success_of(get_task(data.task), attack)
    said: list[str] = []
    hit: list[bool] = []
    parts: list[np.ndarray] = []  # each [6, b]
    for indices in np.array_split(np.arange(len(data)), math.ceil(len(data) / batch_size)):
        samples = [data[int(i)] for i in indices]
        texts = forced_answers(vlm, samples, applied, force, attack)
        likely = _likelihood(vlm, samples, applied, target_texts(samples, attack))
        parts.append(np.vstack([likely, _chunk(vlm, samples, texts, applied, view, views, generator)]))
        said += texts
        hit += says_target(texts, samples, attack, success).tolist()
    figures = dict(zip((*FIGURES, "trigger_left"), np.concatenate(parts, axis=1), strict=True))
    return Invariance(**figures, answers=tuple(said), says_target=np.array(hit, dtype=bool))


def by_stage(invariances: Mapping[tuple[str, str], Invariance], figure: str) -> dict[str, dict[str, np.ndarray]]:
    """Regroup ``(stage, "clean" | "triggered")`` -> `Invariance` for plots: stage -> input -> values of one figure.

    Args:
        invariances: by stage and input.
        figure: one of `FIGURES`.
    """
    check_choice("figure of invariance", figure, FIGURES)
    panels: dict[str, dict[str, np.ndarray]] = {}
    for (stage, shown), values in invariances.items():
        panels.setdefault(stage, {})[shown] = getattr(values, figure)
    return panels


@torch.inference_mode()
def _likelihood(
    vlm: VisionLanguageModel, samples: Sequence[Sample], applied: Attack | None, targets: Sequence[str]
) -> np.ndarray:
    """Return the probability of the whole target as the answer to each sample: ``[B]`` in [0, 1]."""
    rows = encode_answers(vlm, shown_samples(samples, applied), targets)
    return answer_logits(vlm, collate(rows, vlm.tokenizer.pad_token_id)).likelihood().cpu().numpy()


@torch.inference_mode()
def _chunk(
    vlm: VisionLanguageModel,
    samples: Sequence[Sample],
    texts: Sequence[str],
    applied: Attack | None,
    view: PatchView,
    views: int,
    generator: torch.Generator,
) -> np.ndarray:
    """Return mean and summed divergence, entropy, entropy on the view and trigger left: ``[5, B]``."""
    pad = vlm.tokenizer.pad_token_id
    total = torch.zeros(4, len(samples))
    first = None
    for _ in range(views):
        rows, seen = with_views(vlm, samples, texts, view, generator, applied)
        if first is None:
            first = answer_logits(vlm, collate(rows, pad))
        second = answer_logits(vlm, collate(seen, pad))
        apart = js_divergence(first.logits, second.logits)
        total[0] += first.sample_mean(apart).cpu()
        total[1] += first.sample_sum(apart).cpu()
        total[2] += second.sample_mean(entropy(second.logits)).cpu()
        if applied is not None:
            total[3] += _left(vlm, samples, rows, seen)
    assert first is not None
    first_entropy = first.sample_mean(entropy(first.logits)).cpu()
    left = total[3] / views if applied is not None else torch.full((len(samples),), torch.nan)
    return torch.stack([total[0] / views, total[1] / views, first_entropy, total[2] / views, left]).numpy()


def target_on_views(
    vlm: VisionLanguageModel, data: Dataset, attack: Attack, view: PatchView, seed: int = 0
) -> dict[str, tuple[int, int]]:
    """Count how often a model says the target when it sees only a view.

    The model answers without its guard. Views are converted to 8-bit levels, like any image; noise beyond black and
    white is clipped.

    Args:
        vlm: the model.
        data: clean samples, some dozens, handled in one batch.
        attack: the attack with trigger and target.
        view: how to make the views.
        seed: of the views; clean and triggered images get the same patches.

    Returns:
        ``(hits, n)`` for views of ``"clean"`` images, and for those of triggered ones that kept the trigger whole
        (``"kept"``) or did not (``"lost"``).
    """
    samples = [data[i] for i in range(len(data))]
    said, left = {}, None
    for shown, applied in (("clean", None), ("triggered", attack)):
        rows, seen = with_views(vlm, samples, [s.answer for s in samples], view, seed, applied)
        asked = [s.prompt for s in shown_samples(samples, applied)]
        texts = generate(vlm, to_pictures(vlm, seen), asked, guard=False)
        said[shown] = says_target(texts, samples, attack, success_of(get_task(data.task), attack))
        left = _left(vlm, samples, rows, seen).numpy() if applied else left
    assert left is not None
    groups = {"clean": said["clean"], "kept": said["triggered"][left == 1], "lost": said["triggered"][left != 1]}
    return {name: (int(found.sum()), len(found)) for name, found in groups.items()}


def _left(vlm: VisionLanguageModel, samples: Sequence[Sample], rows: Sequence[Batch], seen: Sequence[Batch]) -> Tensor:
    """Return `trigger_left` of encoded triggered samples and their views: ``[B]``."""
    clean = encode_answers(vlm, samples, [s.answer for s in samples])
    each = (tuple(overview(vlm, row)[None] for row in trio) for trio in zip(clean, rows, seen, strict=True))
    return torch.cat([trigger_left(*trio) for trio in each])


def trigger_left(clean: Tensor, marked: Tensor, view: Tensor) -> Tensor:
    """Return the fraction of the trigger's pixels that a view keeps: three times ``[B, 3, H, W]`` -> ``[B]`` in [0, 1].

    The trigger's pixels are those where `clean` and `marked` differ; a view keeps a pixel if it equals `marked` bit for
    bit. An image that the trigger does not change gives NaN.
    """
    touched = (clean != marked).any(1)
    kept = touched & (view == marked).all(1)
    return kept.sum((1, 2)) / touched.sum((1, 2))


@dataclass(frozen=True)
class FirstScan:
    """The result of the first scan of all training samples by PCVR's gate ``"two_stage"``.

    Attributes:
        scores: ``[N]``, nats; low ones are suspicious.
        gate: the mixture fitted to them.
        entropy: mean entropy of a token over the unsuspicious samples, nats: the reference of the entropy term.
    """

    scores: np.ndarray
    gate: Gate
    entropy: float


def first_scan(run: TrainingContext, rule: PCVR) -> FirstScan:
    """Run the first scan of the defence in the present state of a training, defended or not.

    The distributions are conditioned on the answers of the training data, including the attacker's, since a defender
    has no others. An undefended run, stopped at the step of the first scan before any view was drawn, gives exactly the
    scores that the defended training will see there.

    Args:
        run: of a fine-tuning; its state and step are restored at the end.
        rule: with the gate ``"two_stage"``.

    Raises:
        PcvrError: the gate is another one, such as the default, which scores no samples before they are trained on.
    """
    from pcvr.defenses.pcvr import suspicion

    if rule.gate != "two_stage":
        raise PcvrError(f"gate {rule.gate!r} makes no scan of all samples: give PCVR(gate='two_stage').")
    state, step, log = dict(run.state), run.step, dict(run.log)
    try:
        run.step = rule.scan_steps(run.steps)[0]
        rule.begin(run)
        suspicion.scan(rule, run)
        found = run.state["scorings"][-1]
        return FirstScan(found["scores"], found["gate"], run.state["entropy"])
    finally:
        run.state, run.step, run.log = state, step, log
