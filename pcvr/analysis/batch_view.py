"""Look at one small batch as the defence's loss does: originals against one view, a value for each sample."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from pcvr.defenses.context import TrainingContext
from pcvr.defenses.losses import entropy, feature_agreement, js_divergence, label_vs_rest
from pcvr.models.encode import EncodedData

if TYPE_CHECKING:
    from pcvr.data.sample import Dataset
    from pcvr.models.encode import Batch
    from pcvr.models.vlm import VisionLanguageModel
    from pcvr.views import PatchView


@dataclass(frozen=True)
class BatchView:
    """A batch under one model, with the forward pass of the originals and of one view of each.

    Attributes:
        run: model and data, for `pcvr.analysis.gradients.terms_of`.
        batch: all samples of the data, encoded.
        values: name to ``[B]``: ``"whole"`` and ``"label"``, the divergence of whole distributions and of the label
            token against all others, summed over the answer, nats; ``"apart"``, the first as a mean over tokens;
            ``"likelihood"`` of the whole label, 0 to 1; ``"loss"`` and ``"entropy"``, nats per token; ``"cosine"`` of
            the last hidden states, -1 to 1.
    """

    run: TrainingContext
    batch: Batch
    values: Mapping[str, np.ndarray]


def view_batch(vlm: VisionLanguageModel, samples: Dataset, view: PatchView, steps: int, seed: int = 0) -> BatchView:
    """Run a model on some samples and on one view of each.

    Args:
        vlm: the model.
        samples: some dozens, handled in one batch; the view takes patches from them alone.
        view: how the view is made.
        steps: optimiser steps of the training that the batch stands for.
        seed: of the view.
    """
    run = TrainingContext(vlm, EncodedData(vlm, samples), steps=steps, seed=seed)
    run.data.keep_features()  # without these features, views would perturb pixels
    batch = run.data.batch(range(len(samples)))
    with torch.no_grad():
        said = run.forward(batch, hidden=True)
        seen = run.forward(run.view(batch, view), hidden=True)
        assert said.hidden is not None and seen.hidden is not None
        whole = js_divergence(said.logits, seen.logits)
        label = js_divergence(*(label_vs_rest(each.logits, each.targets) for each in (said, seen)))
        found: dict[str, Tensor] = {
            "whole": said.sample_sum(whole),
            "label": said.sample_sum(label),
            "apart": said.sample_mean(whole),
            "likelihood": said.likelihood(),
            "loss": said.sample_mean(cross_entropy(said.logits, said.targets, reduction="none")),
            "entropy": said.sample_mean(entropy(said.logits)),
            "cosine": said.sample_mean(feature_agreement(said.hidden, seen.hidden)),
        }
    return BatchView(run, batch, {name: value.float().cpu().numpy() for name, value in found.items()})
