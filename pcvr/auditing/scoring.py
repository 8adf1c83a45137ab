"""The figures of a batch of samples from one pass: likelihood of the label, what views change, attention, the image.

A label is read from the original image, from a view of it (most patches from another image) and from another image
altogether. All figures are plain numbers, so that the rest of an audit needs no model.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from hashlib import blake2b

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from pcvr.defenses.baselines.bye import spread_over
from pcvr.defenses.pcvr.inputs import image_rows, prompt_rows
from pcvr.defenses.pcvr.scoring import divergence_of
from pcvr.models.attention_hooks import mean_attention
from pcvr.models.encode import IGNORE, Batch
from pcvr.models.forward import AnswerLogits, answer_logits
from pcvr.models.tower import with_features
from pcvr.training.loop_context import LoopContext
from pcvr.views import PatchView

TOKENS = 48
"""Label tokens whose figures are kept: of a longer label the first and the last half of them."""
VIEW = PatchView("swap", 0.9, level="features")
"""The view of `invariance`: the default of `pcvr.PCVRConfig`."""
OTHER = PatchView("swap", 1.0, level="features")
"""Another image in place of the sample's own."""

Scores = dict[str, np.ndarray]
"""Name of a figure to its values, one row a sample."""


@torch.no_grad()
def score_batch(run: LoopContext, batch: Batch, attention: bool = True) -> Scores:
    """Score the samples of a batch.

    Args:
        run: the model in eval mode, and the generator of views.
        batch: at least two samples, since views take patches of other images.
        attention: whether the attention profile is read too; of models with cross-attention it is not.

    Returns:
        ``nll`` (mean over the label's tokens, nats), ``tokens`` (their number), ``invariance`` (divergence of the label
        on a view, nats a token), ``support`` (nats by which the image makes the label likelier than another image
        does), ``attention [B, layers]`` (entropies, see `pcvr.defenses.baselines.bye.attention_entropy`), and for the
        combination ``label_tokens``, ``token_nll``, ``token_other [B, TOKENS]`` (the tokens, and their surprise on the
        image and on another one), ``images [B, D]`` and ``prompts [B, 128]`` (packed bits).
    """
    fast = with_features(run.vlm, batch)  # the tower runs once; views are made of what it gives
    said, layers = _attended(run, fast) if attention else (answer_logits(run.vlm, fast, pictures=True), None)
    seen = answer_logits(run.vlm, run.view(fast, VIEW))
    other = answer_logits(run.vlm, run.view(fast, OTHER))
    own, without = token_nll(said), token_nll(other)
    count = said.sample_sum(torch.ones_like(own)).clamp_min(1)
    pictures = said.pictures or []
    found = {
        "nll": _array(said.sample_mean(own)),
        "tokens": _array(count),
        "invariance": _array(divergence_of(said, seen, "js", "label") / count),
        "support": _array(said.sample_sum(without - own)),
        "label_tokens": _padded(said, said.targets, -1, np.int32),
        "token_nll": _padded(said, own, 0, np.float16),
        "token_other": _padded(said, without, 0, np.float16),
        "images": image_rows(pictures) if pictures else np.zeros((said.samples, 1), np.float16),
        "prompts": np.packbits(prompt_rows(batch), axis=1),
    }
    if layers is not None:
        found["attention"] = layers
    return found


def token_nll(said: AnswerLogits) -> Tensor:
    """Return the negative log-likelihood of each answer token: ``[A]``, nats."""
    return cross_entropy(said.logits, said.targets, reduction="none")


def answer_key(text: str) -> int:
    """Return a number that equal answers share, apart from case and spaces: 63 bits."""
    return (
        int.from_bytes(blake2b(" ".join(text.casefold().split()).encode("utf-8", "replace"), digest_size=8).digest())
        >> 1
    )


def _attended(run: LoopContext, batch: Batch) -> tuple[AnswerLogits, np.ndarray | None]:
    """Return the answers, and the entropy of the last prompt token's attention to the image in each layer."""
    if run.vlm.family.pack == "list":  # the text reads images by cross-attention, not among its own tokens
        return answer_logits(run.vlm, batch, pictures=True), None
    labelled = batch["labels"] != IGNORE
    last = labelled.int().argmax(1) - 1
    looking = torch.arange(batch["labels"].shape[1]) == last[:, None]
    with mean_attention(run.vlm, (0, 1), looking.to(run.vlm.device)) as layers:
        said = answer_logits(run.vlm, batch, pictures=True)
    if not layers:
        return said, None
    shown = run.vlm.image_at(batch["input_ids"])
    found = torch.stack([spread_over(each.mean(1).cpu(), shown) for each in layers], 1)
    return said, found.numpy().astype(np.float32)


def _padded(said: AnswerLogits, values: Tensor, filler: float, kind: type) -> np.ndarray:
    """Return token values ``[A]`` by sample: ``[B, TOKENS]``; of a longer label the first and the last half."""
    rows: np.ndarray = np.full((said.samples, TOKENS), filler, dtype=kind)
    owner, flat = said.owner.cpu().numpy(), values.cpu().numpy()
    starts = np.searchsorted(owner, np.arange(said.samples + 1))
    for row in range(said.samples):
        own = flat[starts[row] : starts[row + 1]]
        if len(own) > TOKENS:
            own = np.concatenate([own[: TOKENS // 2], own[-TOKENS // 2 :]])
        rows[row, : len(own)] = own
    return rows


def _array(values: Tensor) -> np.ndarray:
    return values.float().cpu().numpy().astype(np.float64)


def joined(parts: Sequence[Mapping[str, np.ndarray]]) -> Scores:
    """Return the rows of several batches, one after the other."""
    return {name: np.concatenate([_same(part[name], name, parts) for part in parts]) for name in parts[0]}


def _same(values: np.ndarray, name: str, parts: Sequence[Mapping[str, np.ndarray]]) -> np.ndarray:
    """Fill the rows of a narrow part up with zeros, so that all parts have one width."""
    if values.ndim == 1:
        return values
    width = max(part[name].shape[1] for part in parts)
    return np.pad(values, ((0, 0), (0, width - values.shape[1])))
