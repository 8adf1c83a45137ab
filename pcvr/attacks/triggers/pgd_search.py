"""Search one perturbation for all images by signed gradient steps against a base model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, log_softmax

from pcvr.attacks.triggers.pgd import GOALS
from pcvr.errors import PcvrError
from pcvr.models.encode import collate
from pcvr.models.forward import AnswerLogits, answer_logits, batches
from pcvr.models.modes import eval_mode
from pcvr.models.pictures import encode_answers
from pcvr.utils.checks import check_choice, check_number, check_seed, check_whole
from pcvr.views import PatchView

if TYPE_CHECKING:
    from pcvr.data.sample import Sample
    from pcvr.models.encode import Batch
    from pcvr.models.vlm import VisionLanguageModel

VIEW = PatchView("swap", 0.6)
"""The view of the second goal: patches of another image, which is clean."""


def search_delta(
    vlm: VisionLanguageModel,
    samples: Sequence[Sample],
    targets: Sequence[str],
    goal: str,
    *,
    epsilon: int = 16,
    step: int = 2,
    steps: int = 60,
    momentum: float = 0.9,
    batch_size: int = 32,
    seed: int = 0,
    progress: bool = False,
) -> tuple[np.ndarray, list[float]]:
    """Search a universal perturbation ``d`` by projected gradient ascent.

    With the goal ``g``, a batch ``x`` of clean images and the target ``y``::

        h <- grad_d mean g(clip(x + d, 0, 255), y)
        m <- momentum m + h / |h|_1
        d <- clip(d + step sign(m), -epsilon, epsilon)

    These are the steps of Madry et al. (arXiv 1706.06083) on one perturbation for all images, as in Shafahi et al.
    (*Universal Adversarial Training*, arXiv 1811.11304), with the momentum of Dong et al. (arXiv 1710.06081, algorithm
    1). Without it, the divergence of one-word answers did not rise: a few samples of a batch decide its mean. ``d`` and
    ``m`` begin at 0, and steps and bound are whole levels, so ``d`` is exact in 8 bits at any time. The two goals are
    our own answer to the defence:

    - ``"likelihood"``: the mean log-likelihood of the target's tokens, so that a gate does not find the label
      unexpected;
    - ``"divergence"``: the cross-view divergence of the target's tokens (:func:`label_divergence`), so that a gate does
      not find the label invariant.

    Args:
        vlm: the base model; its weights stay unchanged.
        samples: clean samples, some hundred.
        targets: the attacker's text for each.
        goal: one of :data:`GOALS`.
        epsilon: the largest change of a level, 1 to 127.
        step: levels of a step, 1 to ``epsilon``.
        steps: of the search, at least 0.
        momentum: fraction of the earlier directions that is kept, 0 to 1; 0 gives plain signed gradients.
        batch_size: samples of a step.
        seed: of the order and the views.
        progress: whether to show a bar.

    Returns:
        ``d`` in the pixels of the model's tower, int8 ``[H, W, 3]``, and the mean goal of each step's batch before the
        step.

    Raises:
        PcvrError: no samples, a value out of range, or a model that splits an image into tiles.
    """
    from tqdm.auto import tqdm

    check_choice("goal", goal, GOALS)
    check_whole("epsilon", epsilon, 1, 127, "levels")
    check_whole("step_size", step, 1, epsilon, "levels")
    check_whole("steps", steps, 0)
    check_number("momentum", momentum, 0, 1)
    check_whole("batch_size", batch_size, 1)
    check_seed(seed)
    if not samples:
        raise PcvrError("there are no samples to search a perturbation on: give some hundred.")
    rows = encode_answers(vlm, samples, targets)
    generator = torch.Generator().manual_seed(seed)
    delta = torch.zeros_like(_levels(vlm, collate(rows[:1], vlm.tokenizer.pad_token_id))[0])  # [3, H, W]
    pull = torch.zeros_like(delta)
    reached: list[float] = []
    with eval_mode(vlm.model):
        for _ in tqdm(range(steps), desc="search a perturbation", disable=not progress):
            chosen = torch.randperm(len(rows), generator=generator)[:batch_size].tolist()
            batch = collate([rows[k] for k in chosen], vlm.tokenizer.pad_token_id)
            delta.requires_grad_()
            value = _goal(vlm, batch, delta, goal, generator).mean()
            (gradient,) = torch.autograd.grad(value, [delta])
            pull = momentum * pull + gradient / gradient.abs().sum().clamp_min(1e-30)
            delta = (delta.detach() + step * pull.sign()).clamp(-epsilon, epsilon)
            reached.append(float(value.detach()))
    return delta.detach().to(torch.int8).permute(1, 2, 0).contiguous().cpu().numpy(), reached


@torch.no_grad()
def measure_images(
    vlm: VisionLanguageModel,
    clean: Sequence[Sample],
    shown: Sequence[Sample],
    targets: Sequence[str],
    batch_size: int = 64,
    seed: int = 0,
) -> dict[str, float]:
    """Measure how a model takes the target as the answer to images.

    Args:
        vlm: the model.
        clean: clean samples, which give the views their patches.
        shown: the samples to measure, the same ones with or without a trigger.
        targets: the attacker's text for each.
        batch_size: samples at a time.
        seed: of the views; equal seeds give equal patches.

    Returns:
        ``nll``, the mean negative log-likelihood of a token of the target, and ``divergence``, the mean of
        :func:`label_divergence`, nats; both are means over the samples.
    """
    generator = torch.Generator().manual_seed(seed)
    pad = vlm.tokenizer.pad_token_id
    nll, apart = [], []
    with eval_mode(vlm.model):
        for some in batches(len(shown), batch_size):
            texts = [targets[k] for k in some]
            batch = collate(encode_answers(vlm, [shown[k] for k in some], texts), pad)
            donors = _levels(vlm, collate(encode_answers(vlm, [clean[k] for k in some], texts), pad))
            levels = _levels(vlm, batch)
            said = _answers(vlm, batch, levels)
            nll.append(-_log_likelihood(said))
            apart.append(label_divergence(said, _answers(vlm, batch, VIEW(levels, generator, donors.roll(1, 0)))))
    return {"nll": float(torch.cat(nll).mean()), "divergence": float(torch.cat(apart).mean())}


def label_divergence(said: AnswerLogits, seen: AnswerLogits) -> Tensor:
    """Compute the Jensen-Shannon divergence of each label token against all others, summed over a label: ``[B]``, nats.

    As PCVR scores labels, but in double precision, since a base model gives the tokens of a target almost no
    probability::

        JS = H((p + q) / 2) - (H(p) + H(q)) / 2    with H(p) = -p ln p - (1 - p) ln(1 - p)

    Args:
        said: the answers to the originals.
        seen: the answers to the views, with the same labels.
    """
    p, q = (_label_probability(each) for each in (said, seen))
    return said.sample_sum(_entropy((p + q) / 2) - (_entropy(p) + _entropy(q)) / 2)


def _label_probability(said: AnswerLogits) -> Tensor:
    likely = log_softmax(said.logits.double(), -1).gather(1, said.targets[:, None])[:, 0]
    return likely.exp().clamp(1e-15, 1 - 1e-12)  # entropy has no slope at 0 and 1


def _entropy(p: Tensor) -> Tensor:
    return torch.special.entr(p) + torch.special.entr(1 - p)


def _log_likelihood(said: AnswerLogits) -> Tensor:
    """Return the mean log-likelihood of a label's tokens: ``[B]``, nats."""
    return said.sample_mean(-cross_entropy(said.logits, said.targets, reduction="none"))


def _goal(vlm: VisionLanguageModel, batch: Batch, delta: Tensor, goal: str, generator: torch.Generator) -> Tensor:
    """Return what is raised, for each sample of a batch of clean images: ``[B]``, nats."""
    clean = _levels(vlm, batch)
    worn = (clean + delta).clamp(0, 255)
    said = _answers(vlm, batch, worn)
    if goal == "likelihood":
        return _log_likelihood(said)
    return label_divergence(said, _answers(vlm, batch, VIEW(worn, generator, clean.roll(1, 0))))


def _answers(vlm: VisionLanguageModel, batch: Batch, levels: Tensor) -> AnswerLogits:
    """Return the answers to images given in levels, ``[B, 3, H, W]``, with gradient."""
    mean, std = _scale(vlm, levels)
    pixels = ((levels / 255 - mean) / std).view_as(batch["pixel_values"])
    return answer_logits(vlm, batch | {"pixel_values": pixels.to(batch["pixel_values"].dtype)})


def _levels(vlm: VisionLanguageModel, batch: Batch) -> Tensor:
    """Return the images of a batch in whole levels 0 to 255: float ``[B, 3, H, W]``.

    Raises:
        PcvrError: an image is more than one tile.
    """
    pixels = batch["pixel_values"]
    flat = pixels.float().reshape(-1, *pixels.shape[-3:])
    if pixels.ndim < 4 or len(flat) != len(batch["input_ids"]):
        raise PcvrError(
            f"the processor of {vlm.name!r} splits an image into parts, and a perturbation is searched on whole ones: "
            "use a model such as 'tiny-llava'."
        )
    mean, std = _scale(vlm, flat)
    return ((flat * std + mean) * 255).round()


def _scale(vlm: VisionLanguageModel, like: Tensor) -> tuple[Tensor, Tensor]:
    prepare = vlm.processor.image_processor
    mean, std = (like.new_tensor(values).view(3, 1, 1) for values in (prepare.image_mean, prepare.image_std))
    return mean, std
