"""A picture and its triggered twin under the same views, of pixels or of what the tower made of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from pcvr.analysis.two_views import ViewTrace, forced_answers, shown_samples, trace_answers
from pcvr.defenses.losses import entropy, js_divergence, told_word
from pcvr.errors import PcvrError
from pcvr.models.encode import collate
from pcvr.models.forward import answer_logits
from pcvr.models.pictures import encode_answers, to_pictures
from pcvr.models.tower import tower_features
from pcvr.models.vocab import vocabulary
from pcvr.utils.checks import check_seed

if TYPE_CHECKING:
    from pcvr.attacks import Attack
    from pcvr.data.sample import Sample
    from pcvr.models.encode import Batch
    from pcvr.models.vlm import VisionLanguageModel
    from pcvr.views import PatchView

GREY = 128


def triggered_pair(
    vlm: VisionLanguageModel,
    samples: Sequence[Sample],
    pick: int,
    attack: Attack,
    view: PatchView,
    seeds: Sequence[int] = (0,),
    force: str = "own",
) -> dict[str, list[ViewTrace]]:
    """What a model says of one picture and of its triggered twin, under several views; both get the same patches.

    Args:
        vlm: the model.
        samples: clean samples, at least two: the next one lends its patches to the swap operator.
        pick: position of the picture.
        attack: puts the trigger on.
        view: how views are made. Where it changes features, a picture cannot show that: its changed tokens are greyed
            where they lie, if they form a square.
        seeds: of the views, one each.
        force: whose answer is read along, see `pcvr.analysis.two_views.FORCES`.

    Returns:
        ``"clean"`` and ``"triggered"``, each with a `ViewTrace` for each seed.

    Raises:
        PcvrError: fewer than two samples, no such picture, or features of pictures of several sizes.
    """
    if len(samples) < 2 or not 0 <= pick < len(samples):
        raise PcvrError(
            f"picture {pick} of {len(samples)}: give at least two samples, and a position from 0 up among them."
        )
    pair = [samples[pick], samples[(pick + 1) % len(samples)]]
    found = {}
    for name, worn in (("clean", None), ("triggered", attack)):
        said = forced_answers(vlm, pair, worn, force, attack.target)
        tell = _tell_features if view.level == "features" else trace_answers
        found[name] = [tell(vlm, pair, said, view, seed, worn)[0] for seed in seeds]
    return found


def label_divergence(telling: ViewTrace) -> np.ndarray:
    """Divergence of the word that the answer says against all others, token by token: ``[T]``, nats in [0, ln 2]."""
    told = torch.tensor([telling.words.index(word) for word in telling.tokens])
    one, other = (told_word(torch.from_numpy(p).clamp_min(1e-30).log(), told) for p in (telling.original, telling.view))
    found: np.ndarray = js_divergence(one, other).numpy()
    return found


@torch.inference_mode()
def _tell_features(
    vlm: VisionLanguageModel,
    pair: Sequence[Sample],
    said: Sequence[str],
    view: PatchView,
    seed: int,
    worn: Attack | None,
) -> list[ViewTrace]:
    """As `pcvr.analysis.two_views.trace_answers`, with a view of the tower's features."""
    rows = encode_answers(vlm, shown_samples(pair, worn), said)
    features = _features(vlm, rows)
    lent = (features if worn is None else _features(vlm, encode_answers(vlm, pair, said))).flip(0)
    check_seed(seed)
    seen = view.of_tokens(features, torch.Generator().manual_seed(seed), lent)
    batch = collate([{k: v for k, v in row.items() if k != "pixel_values"} for row in rows], vlm.tokenizer.pad_token_id)
    first, second = (answer_logits(vlm, batch | {"features": each}) for each in (features, seen))
    words, pictures = vocabulary(vlm, first.logits.shape[1]), to_pictures(vlm, rows)
    moved = (seen != features).any(-1)  # [B, N] or [B, tiles, N]
    tellings = []
    for i, text in enumerate(said):
        own = first.owner == i
        p, q = first.logits[own], second.logits[own]
        tokens = moved[i] if moved.dim() == 2 else moved[i, vlm.family.overview]
        tellings.append(
            ViewTrace(
                text=text,
                tokens=tuple(words[k] for k in first.targets[own].tolist()),
                original=p.softmax(-1).cpu().numpy(),
                view=q.softmax(-1).cpu().numpy(),
                divergence=js_divergence(p, q).cpu().numpy(),
                entropy=entropy(p).cpu().numpy(),
                view_entropy=entropy(q).cpu().numpy(),
                image=pictures[i],
                view_image=greyed(pictures[i], tokens.cpu().numpy()),
                words=words,
            )
        )
    return tellings


def _features(vlm: VisionLanguageModel, rows: Sequence[Batch]) -> Tensor:
    if vlm.family.layout == "patches" or len({row["pixel_values"].shape for row in rows}) > 1:
        raise PcvrError(
            "these pictures have several sizes, so their features cannot be exchanged: choose level 'pixels'."
        )
    return tower_features(vlm, torch.stack([row["pixel_values"] for row in rows]))


def greyed(picture: np.ndarray, changed: np.ndarray) -> np.ndarray:
    """A picture with a grey veil where tokens were changed.

    Args:
        picture: uint8 ``[H, W, 3]``.
        changed: bool ``[N]``, tokens from left to right and top to bottom; one more than a square has a class token
            in front. If N is neither, the picture is given back as it is.
    """
    side = math.isqrt(len(changed))
    if side * side not in (len(changed), len(changed) - 1):
        return picture
    grid = changed[len(changed) - side * side :].reshape(side, side)
    rows, columns = (np.arange(n) * side // n for n in picture.shape[:2])
    veil = grid[rows][:, columns, None]
    mixed: np.ndarray = np.where(veil, picture // 4 + 3 * GREY // 4, picture).astype(np.uint8)
    return mixed
