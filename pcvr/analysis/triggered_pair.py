"""Compare an image with its triggered version under the same views, of pixels or of the tower's features."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from pcvr.analysis.two_views import ViewTrace, forced_answers, shown_samples, trace_answers, view_trace
from pcvr.defenses.losses import js_divergence, label_vs_rest
from pcvr.errors import PcvrError
from pcvr.models.encode import collate
from pcvr.models.forward import answer_logits
from pcvr.models.pictures import encode_answers, to_pictures
from pcvr.models.tower import keeps_features, tower_features
from pcvr.models.vocab import vocabulary
from pcvr.utils.checks import check_seed

if TYPE_CHECKING:
    from pcvr.attacks import Attack
    from pcvr.data.sample import Sample
    from pcvr.models.encode import Batch
    from pcvr.models.vlm import VisionLanguageModel
    from pcvr.views import PatchView

_GREY = 128


def triggered_pair(
    vlm: VisionLanguageModel,
    samples: Sequence[Sample],
    pick: int,
    attack: Attack,
    view: PatchView,
    seeds: Sequence[int] = (0,),
    force: str = "own",
) -> dict[str, list[ViewTrace]]:
    """Trace a model on one image and its triggered version, under several views with the same patches.

    Args:
        vlm: the model.
        samples: clean samples, at least two: the next one provides patches for the swap operator.
        pick: position of the image.
        attack: the attack with the trigger.
        view: how to make the views. An image cannot show changed features: changed tokens are greyed instead, if the
            tokens form a square.
        seeds: of the views, one a view.
        force: which answer is read, see `pcvr.analysis.two_views.FORCES`.

    Returns:
        ``"clean"`` and ``"triggered"``, each with a `ViewTrace` for each seed.

    Raises:
        PcvrError: there are fewer than two samples or no such image, or features come from images of several sizes.
    """
    if len(samples) < 2 or not 0 <= pick < len(samples):
        raise PcvrError(
            f"image {pick} of {len(samples)}: give at least two samples, and a position from 0 up among them."
        )
    pair = [samples[pick], samples[(pick + 1) % len(samples)]]
    found = {}
    for name, worn in (("clean", None), ("triggered", attack)):
        said = forced_answers(vlm, pair, worn, force, attack)
        trace = _trace_features if view.level == "features" else trace_answers
        found[name] = [trace(vlm, pair, said, view, seed, worn)[0] for seed in seeds]
    return found


def label_divergence(trace: ViewTrace) -> np.ndarray:
    """Return the divergence of each answer token against all other words: ``[T]``, nats in [0, ln 2]."""
    labels = torch.tensor([trace.words.index(word) for word in trace.tokens])
    one, other = (
        label_vs_rest(torch.from_numpy(p).clamp_min(1e-30).log(), labels) for p in (trace.original, trace.view)
    )
    found: np.ndarray = js_divergence(one, other).numpy()
    return found


@torch.inference_mode()
def _trace_features(
    vlm: VisionLanguageModel,
    pair: Sequence[Sample],
    said: Sequence[str],
    view: PatchView,
    seed: int,
    worn: Attack | None,
) -> list[ViewTrace]:
    """Trace like `pcvr.analysis.two_views.trace_answers`, with a view of the tower's features."""
    rows = encode_answers(vlm, shown_samples(pair, worn), said)
    features = _features(vlm, rows)
    lent = (features if worn is None else _features(vlm, encode_answers(vlm, pair, said))).flip(0)
    check_seed(seed)
    seen = view.of_tokens(features, torch.Generator().manual_seed(seed), lent)
    batch = collate([{k: v for k, v in row.items() if k != "pixel_values"} for row in rows], vlm.tokenizer.pad_token_id)
    first, second = (answer_logits(vlm, batch | {"features": each}) for each in (features, seen))
    words, images = vocabulary(vlm, first.logits.shape[1]), to_pictures(vlm, rows)
    moved = (seen != features).any(-1)  # [B, N] or [B, tiles, N]
    grids = [each if each.dim() == 1 else each[vlm.family.overview] for each in moved]
    seen_images = [greyed(image, grid.cpu().numpy()) for image, grid in zip(images, grids, strict=True)]
    pairs = list(zip(images, seen_images, strict=True))
    return [view_trace(text, (first, second), row, pairs[row], words) for row, text in enumerate(said)]


def _features(vlm: VisionLanguageModel, rows: Sequence[Batch]) -> Tensor:
    if not keeps_features(vlm) or len({row["pixel_values"].shape for row in rows}) > 1:
        raise PcvrError(
            "these images have several sizes, so their features cannot be exchanged: choose level 'pixels'."
        )
    return tower_features(vlm, torch.stack([row["pixel_values"] for row in rows]))


def greyed(image: np.ndarray, changed: np.ndarray) -> np.ndarray:
    """Lay a grey veil over the changed tokens of an image.

    Args:
        image: uint8 ``[H, W, 3]``.
        changed: bool ``[N]``, tokens in reading order, with a class token in front if N is a square plus one. For
            any other N the image is returned unchanged.
    """
    side = math.isqrt(len(changed))
    if side * side not in (len(changed), len(changed) - 1):
        return image
    grid = changed[len(changed) - side * side :].reshape(side, side)
    rows, columns = (np.arange(n) * side // n for n in image.shape[:2])
    veil = grid[rows][:, columns, None]
    mixed: np.ndarray = np.where(veil, image // 4 + 3 * _GREY // 4, image).astype(np.uint8)
    return mixed
