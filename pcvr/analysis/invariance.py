"""How cross-view divergence and entropy are spread over many pictures, clean and triggered."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from pcvr.analysis.two_views import forced_answers, shown_samples, with_views
from pcvr.defenses.losses import entropy, js_divergence
from pcvr.errors import PcvrError
from pcvr.evaluation.asr import hits
from pcvr.evaluation.generate import generate
from pcvr.evaluation.success_criteria import success_of
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
    """One model on N pictures; figures are means over the views, and over the answer's tokens unless they say not.

    Attributes:
        target: ``[N]``, probability of the attacker's whole target on the original, word for word and with its end.
        divergence: ``[N]``, Jensen-Shannon divergence between original and view, nats in [0, ln 2].
        whole: ``[N]``, the same summed over the answer's tokens, nats.
        entropy: ``[N]``, entropy on the original, nats.
        view_entropy: ``[N]``, entropy on the view, nats.
        trigger_left: ``[N]``, share of the pixels changed by the trigger that the view leaves alone; NaN without a
            trigger.
        answers: the N texts that the distributions are conditioned on.
        says_target: ``[N]`` bool, whether that text contains the attacker's target.
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
    """Divergence and entropy of every sample of `data`.

    Args:
        vlm: the model.
        data: clean samples.
        attack: whose trigger and target are meant.
        view: how views are made, always of pixels; with one seed, clean and triggered pictures get the same patches.
        shown: ``"clean"`` or ``"triggered"``.
        views: how many views are averaged over.
        seed: of the views.
        force: whose words the distributions are conditioned on, see `pcvr.analysis.two_views.FORCES`.
        batch_size: pictures at a time.

    Raises:
        PcvrError: no data, no view, or another word for `shown`.
    """
    if shown not in ("clean", "triggered"):
        raise PcvrError(f"shown is {shown!r}: give 'clean' or 'triggered'.")
    if len(data) == 0 or views < 1:
        raise PcvrError(f"{len(data)} samples and {views} views: give at least one of each.")
    worn = attack if shown == "triggered" else None
    check_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    said: list[str] = []
    parts: list[np.ndarray] = []  # each [6, b]
    for indices in np.array_split(np.arange(len(data)), math.ceil(len(data) / batch_size)):
        samples = [data[int(i)] for i in indices]
        texts = forced_answers(vlm, samples, worn, force, attack.target)
        likely = _likelihood(vlm, samples, worn, attack.target)
        parts.append(np.vstack([likely, _chunk(vlm, samples, texts, worn, view, views, generator)]))
        said += texts
    target, divergence, whole, calm, stirred, left = np.concatenate(parts, axis=1)
    return Invariance(
        target,
        divergence,
        whole,
        calm,
        stirred,
        left,
        tuple(said),
        hits(said, attack.target, success_of(get_task(data.task), attack)),
    )


def by_stage(spreads: Mapping[tuple[str, str], Invariance], figure: str) -> dict[str, dict[str, np.ndarray]]:
    """``(stage, "clean" | "triggered")`` -> `Invariance` regrouped for plots: stage -> input -> values of one figure.

    Args:
        spreads: as in the type.
        figure: one of `FIGURES`.
    """
    check_choice("figure of a spread", figure, FIGURES)
    panels: dict[str, dict[str, np.ndarray]] = {}
    for (stage, shown), values in spreads.items():
        panels.setdefault(stage, {})[shown] = getattr(values, figure)
    return panels


@torch.inference_mode()
def _likelihood(vlm: VisionLanguageModel, samples: Sequence[Sample], worn: Attack | None, target: str) -> np.ndarray:
    """How likely the whole target is as the answer to each sample: ``[B]`` in [0, 1]."""
    rows = encode_answers(vlm, shown_samples(samples, worn), [target] * len(samples))
    return answer_logits(vlm, collate(rows, vlm.tokenizer.pad_token_id)).likelihood().cpu().numpy()


@torch.inference_mode()
def _chunk(
    vlm: VisionLanguageModel,
    samples: Sequence[Sample],
    texts: Sequence[str],
    worn: Attack | None,
    view: PatchView,
    views: int,
    generator: torch.Generator,
) -> np.ndarray:
    """Divergence as mean and as sum, entropy, entropy on the view and trigger left, ``[5, B]``."""
    pad = vlm.tokenizer.pad_token_id
    total = torch.zeros(4, len(samples))
    first = None
    for _ in range(views):
        rows, seen = with_views(vlm, samples, texts, view, generator, worn)
        if first is None:
            first = answer_logits(vlm, collate(rows, pad))
        second = answer_logits(vlm, collate(seen, pad))
        apart = js_divergence(first.logits, second.logits)
        total[0] += first.sample_mean(apart).cpu()
        total[1] += first.sample_sum(apart).cpu()
        total[2] += second.sample_mean(entropy(second.logits)).cpu()
        if worn is not None:
            total[3] += _left(vlm, samples, rows, seen)
    assert first is not None
    calm = first.sample_mean(entropy(first.logits)).cpu()
    left = total[3] / views if worn is not None else torch.full((len(samples),), torch.nan)
    return torch.stack([total[0] / views, total[1] / views, calm, total[2] / views, left]).numpy()


def target_on_views(
    vlm: VisionLanguageModel, data: Dataset, attack: Attack, view: PatchView, seed: int = 0
) -> dict[str, tuple[int, int]]:
    """How often a model says the target when it is shown a view as if that were the picture.

    Views go through 8-bit levels here, as any picture does; noise beyond black and white is cut.

    Args:
        vlm: the model.
        data: clean samples, some dozens: they are handled in one batch.
        attack: whose trigger and target are meant.
        view: how the views are made.
        seed: of the views; clean and triggered pictures get the same patches.

    Returns:
        ``(hits, n)`` for views of ``"clean"`` pictures, and for those of triggered ones that kept the trigger whole
        (``"kept"``) or did not (``"lost"``).
    """
    samples = [data[i] for i in range(len(data))]
    said, left = {}, None
    for shown, worn in (("clean", None), ("triggered", attack)):
        rows, seen = with_views(vlm, samples, [s.answer for s in samples], view, seed, worn)
        texts = generate(vlm, to_pictures(vlm, seen), [s.prompt for s in shown_samples(samples, worn)])
        said[shown] = hits(texts, attack.target, success_of(get_task(data.task), attack))
        left = _left(vlm, samples, rows, seen).numpy() if worn else left
    assert left is not None
    groups = {"clean": said["clean"], "kept": said["triggered"][left == 1], "lost": said["triggered"][left != 1]}
    return {name: (int(found.sum()), len(found)) for name, found in groups.items()}


def _left(vlm: VisionLanguageModel, samples: Sequence[Sample], rows: Sequence[Batch], seen: Sequence[Batch]) -> Tensor:
    """`trigger_left` of encoded triggered samples and their views, ``[B]``."""
    clean = encode_answers(vlm, samples, [s.answer for s in samples])
    each = (tuple(overview(vlm, row)[None] for row in trio) for trio in zip(clean, rows, seen, strict=True))
    return torch.cat([trigger_left(*trio) for trio in each])


def trigger_left(clean: Tensor, marked: Tensor, view: Tensor) -> Tensor:
    """Share of the trigger's pixels that a view leaves alone: three times ``[B, 3, H, W]`` -> ``[B]`` in [0, 1].

    A pixel is the trigger's where `clean` and `marked` differ, and is left alone where `view` equals `marked` to the
    bit. A picture on which the trigger changes nothing gives NaN.
    """
    touched = (clean != marked).any(1)
    kept = touched & (view == marked).all(1)
    return kept.sum((1, 2)) / touched.sum((1, 2))


@dataclass(frozen=True)
class FirstScan:
    """What PCVR finds when it looks at all training samples for the first time.

    Attributes:
        scores: ``[N]``, nats; low is suspicious.
        gate: the mixture fitted to them.
        entropy: mean entropy of a token over the samples that nobody suspects, nats: the reference of the entropy term.
    """

    scores: np.ndarray
    gate: Gate
    entropy: float


def first_scan(run: TrainingContext, rule: PCVR) -> FirstScan:
    """Let the defence look at a run as it is, whoever trained it.

    The distributions are conditioned on the answers of the training data, the attacker's among them, since those are
    what a defender of the training has. A plain run that was stopped at the step of the first look, and whose views
    nobody has drawn yet, gives the very scores that the defended training will see there.

    Args:
        run: of a fine-tuning; its state and step are as before when this returns.
        rule: with the gate ``"two_stage"``.

    Raises:
        PcvrError: another gate, which does not look at all samples at once.
    """
    from pcvr.defenses.pcvr import suspicion

    if rule.gate != "two_stage":
        raise PcvrError(f"gate {rule.gate!r} looks at batches only: give a PCVR with the gate 'two_stage'.")
    state, step, log = dict(run.state), run.step, dict(run.log)
    try:
        run.step = rule.looks(run.steps)[0]
        suspicion.begin(run)
        suspicion.look(rule, run)
        found = run.state["scorings"][-1]
        return FirstScan(found["scores"], found["gate"], run.state["entropy"])
    finally:
        run.state, run.step, run.log = state, step, log
