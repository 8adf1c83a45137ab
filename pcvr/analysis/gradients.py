"""Take one small step down one term of a loss, and measure how a model's answers to some samples change."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from pcvr.defenses.losses import DIVERGENCES, entropy, pull_apart, pull_together
from pcvr.defenses.pcvr import anchor, suspicion
from pcvr.defenses.pcvr.config import BOUNDS
from pcvr.defenses.pcvr.defense import PUSH_FLOOR
from pcvr.errors import PcvrError
from pcvr.models.encode import collate, encode_samples
from pcvr.models.forward import answer_logits
from pcvr.models.vocab import vocabulary
from pcvr.utils.checks import check_number, check_seed
from pcvr.utils.renamed import old_arguments

if TYPE_CHECKING:
    from pcvr.data.sample import Sample
    from pcvr.defenses.context import TrainingContext
    from pcvr.defenses.pcvr import PCVR
    from pcvr.models.encode import Batch
    from pcvr.models.forward import AnswerLogits
    from pcvr.models.vlm import VisionLanguageModel

Loss = Callable[[], Tensor]
"""Computes a scalar with the model whose adapter is moved. Each call must draw the same views, so that only the step
makes a difference."""


@dataclass(frozen=True)
class AnswerChange:
    """How likely a model finds one answer to one image, token by token, before and after a step.

    Attributes:
        tokens: the answer's T tokens, its end last.
        before: ``[T]`` in [0, 1], probability of each token, given the image and the tokens before it.
        after: ``[T]``, the same after the step.
        entropy: mean entropy of the T distributions before and after, nats.
    """

    tokens: tuple[str, ...]
    before: np.ndarray
    after: np.ndarray
    entropy: tuple[float, float]

    @property
    def change(self) -> float:
        """Change of the log-likelihood of the whole answer, nats: 0.69 for twice as likely."""
        tiny = np.finfo(np.float32).tiny
        return float((np.log(np.maximum(self.after, tiny)) - np.log(np.maximum(self.before, tiny))).sum())


@dataclass(frozen=True)
class Step:
    """One step down one loss.

    Attributes:
        loss: before and after.
        norm: length of the gradient; 0 if the loss has none, and nothing moved.
        readings: title to the change of that answer.
    """

    loss: tuple[float, float]
    norm: float
    readings: dict[str, AnswerChange]


@old_arguments(told="samples")
def one_step(vlm: VisionLanguageModel, loss: Loss, samples: Mapping[str, Sample], length: float = 0.02) -> Step:
    """Move the adapter a small step down the gradient of `loss`, read some answers, and put the adapter back.

    All steps have the same length, whatever the size of the gradient, so that terms are compared by their direction and
    not by their weights (ours): ``w - length * |w| * g / |g|``, over all adapter weights together. Training takes other
    steps: Adam scales each weight by itself.

    Args:
        vlm: a model with its adapter on, trainable or not.
        loss: see `Loss`.
        samples: title to sample; the model reads its image and its answer.
        length: of the step, as a fraction of the length of all adapter weights, in (0, 1].

    Raises:
        PcvrError: no adapter, no samples, a `length` out of range, or a loss that is not a finite scalar.
    """
    check_number("length", length, 0, 1)
    if not samples or length == 0:
        raise PcvrError(f"{len(samples)} samples and length {length}: give at least one sample and a length above 0.")
    weights = _adapter(vlm)
    asked = [weight.requires_grad for weight in weights]
    kept = [weight.detach().clone() for weight in weights]
    try:
        for weight in weights:
            weight.requires_grad_(True)
        with torch.enable_grad():
            value = loss()
            if value.dim() or not value.isfinite():
                raise PcvrError(f"the loss is {value.detach()}, of shape {list(value.shape)}: it must be one number.")
            gradients = _gradients(value, weights)
        norm = _length(gradients)
        first = _read(vlm, samples)
        if norm > 0:
            with torch.no_grad():
                scale = length * _length(kept) / norm
                for weight, gradient in zip(weights, gradients, strict=True):
                    weight.sub_(scale * gradient)
        second = _read(vlm, samples)
        with torch.no_grad():
            after = float(loss())
    finally:
        with torch.no_grad():
            for weight, old, wanted in zip(weights, kept, asked, strict=True):
                weight.copy_(old)
                weight.requires_grad_(wanted)
    readings = {
        title: AnswerChange(words, before, second[title][1], (calm, second[title][2]))
        for title, (words, before, calm) in first.items()
    }
    return Step((float(value.detach()), after), norm, readings)


def pushes(divergence: Tensor, gate: Tensor, cap: float) -> dict[str, Tensor]:
    """Compute how hard each bound of the pull-apart term pushes each divergence up: bound to ``-dL/dd``, ``[B]``.

    Args:
        divergence: ``[B]``, of each sample's two views, nats.
        gate: ``[B]`` in [0, 1].
        cap: see `pcvr.defenses.losses.pull_apart`.
    """
    found = {}
    for bound in BOUNDS:
        free = divergence.detach().clone().requires_grad_(True)
        (slope,) = torch.autograd.grad(pull_apart(free, gate, cap, bound=bound), free)
        found[bound] = -slope
    return found


def _adapter(vlm: VisionLanguageModel) -> list[nn.Parameter]:
    found = [weight for name, weight in vlm.model.named_parameters() if "lora_" in name]
    if not found:
        raise PcvrError("the model has no adapter to move: give one from finetune(), or pcvr.load(..., adapter=...).")
    return found


def _gradients(loss: Tensor, weights: list[nn.Parameter]) -> list[Tensor]:
    """Compute the gradients of a loss that may not depend on all weights, or on any."""
    if not loss.requires_grad:
        return [torch.zeros_like(weight) for weight in weights]
    found = torch.autograd.grad(loss, weights, allow_unused=True)
    return [torch.zeros_like(w) if g is None else g for w, g in zip(weights, found, strict=True)]


def _length(tensors: list[Tensor]) -> float:
    return float(torch.stack([each.detach().float().pow(2).sum() for each in tensors]).sum().sqrt())


@torch.no_grad()
def _read(
    vlm: VisionLanguageModel, samples: Mapping[str, Sample]
) -> dict[str, tuple[tuple[str, ...], np.ndarray, float]]:
    """Return the answer tokens of each sample, their probabilities, and the mean entropy."""
    said = answer_logits(vlm, collate(encode_samples(vlm, list(samples.values())), vlm.tokenizer.pad_token_id))
    words = vocabulary(vlm, said.logits.shape[1])
    likely = said.logits.softmax(-1).gather(1, said.targets[:, None])[:, 0]
    calm = said.sample_mean(entropy(said.logits))
    found = {}
    for row, title in enumerate(samples):
        own = said.owner == row
        tokens = tuple(words[i] for i in said.targets[own].tolist())
        found[title] = (tokens, likely[own].cpu().numpy(), float(calm[row]))
    return found


def terms_of(
    run: TrainingContext, batch: Batch, rule: PCVR, gate: Tensor, reference: float, seed: int = 0
) -> dict[str, tuple[float, Loss]]:
    """Return the terms of PCVR's loss on one batch: name to weight, and a function that computes the unweighted term.

    They come from `pcvr.defenses.pcvr.PCVR.terms`, and their weighted sum is ``rule.loss``.
    ``"plain"``, of weight 0, is the cross-entropy of all samples alike.

    Args:
        run: with a model whose adapter is on. Its state gets the reference entropy, the answers of the base model, and
            the trust in it.
        batch: of its data.
        rule: the defence.
        gate: ``[B]`` in [0, 1], the suspicion of each sample.
        reference: entropy of normal answers, nats.
        seed: of the view, the same in every call.
    """
    check_seed(seed)
    suspects = gate.cpu() > suspicion.SUSPICION_FLOOR
    anchor.begin(run)
    anchor.judge(run, batch["index"][~suspects].tolist())
    anchor.remember(run, batch["index"][suspects].tolist())
    run.state["entropy"] = reference
    alike = replace(rule, entropy_weight=1.0, anchor_weight=1.0, apart_weight=1.0, feature_weight=1.0, ramp=0.0)

    def compute(name: str) -> Tensor:
        run.generator.manual_seed(seed)
        said = run.forward(batch, hidden=True)
        return alike.terms(run, batch, said, gate).get(name, torch.zeros(()))

    def plain() -> Tensor:
        said = run.forward(batch)
        return cross_entropy(said.logits, said.targets)

    terms: dict[str, tuple[float, Loss]] = {n: (weight, partial(compute, n)) for n, weight in rule.weights.items()}
    return {"plain": (0.0, plain)} | terms


def held_apart(run: TrainingContext, batch: Batch, rule: PCVR, gate: Tensor, seed: int = 0) -> Loss:
    """Return the pull-apart term of `terms_of` with its views and its push computed once, now, and then held.

    The gradient of the term takes both as constants, so a small step lowers this loss. The term as training computes it
    next may still be higher: the moved model also reads the view in another way, and the push grows with the likelihood
    of the label.

    Args:
        run: as for `terms_of`.
        batch: of its data.
        rule: the defence, which pulls apart or together.
        gate: ``[B]`` in [0, 1], the suspicion of each sample.
        seed: of the views.
    """
    check_seed(seed)
    run.generator.manual_seed(seed)
    with torch.no_grad():
        said = run.forward(batch)
        push = gate * said.likelihood() if rule.fade else gate
        rows = (push > PUSH_FLOOR).nonzero()[:, 0]
        seen = [run.forward(run.view(batch, rule.view, rows)) for _ in range(rule.apart_views)] if len(rows) else []

    def term(view: AnswerLogits) -> Tensor:
        own = run.forward(batch).of(rows)
        divergence = own.sample_mean(DIVERGENCES[rule.divergence](own.logits, view.logits))
        away, back = rule.shares(push[rows], view)
        suspects = gate.sum()
        return pull_apart(divergence, away, rule.cap, suspects, rule.bound) + pull_together(divergence, back, suspects)

    return lambda: torch.stack([term(view) for view in seen]).mean() if seen else torch.zeros(())
