"""What a reader has to see of a sample to judge it: what the model says, to views too, and where the trigger is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image as PilImage

from pcvr.analysis.occlusion import cover
from pcvr.auditing.combine import Likeness
from pcvr.data.sample import Image, Sample
from pcvr.defenses.pcvr.inputs import WORDS, image_rows
from pcvr.errors import PcvrError
from pcvr.models.encode import collate, encode_samples
from pcvr.models.forward import answer_logits
from pcvr.models.generate import generate
from pcvr.models.modes import eval_mode
from pcvr.models.tower import with_features

if TYPE_CHECKING:
    from pcvr.auditing.result import AuditResult
    from pcvr.models.vlm import VisionLanguageModel

GRID = (8, 8)
"""Cells of a map, down and across."""
DRAWS, COVERED = 160, 0.25
"""Images with random cells covered, and the fraction of the cells that each covers."""
VIEWED = 0.6
"""Fraction of the cells of a view that come from another image."""
AT_ONCE = 32
LONGEST = 40
"""Most tokens of an answer that is shown."""
LARGEST = 1024
"""Longer side in pixels to which larger pictures are reduced first: a map holds `AT_ONCE` copies of one."""


@dataclass(frozen=True)
class Shown:
    """A sample as a report shows it.

    Attributes:
        row: its index in the data.
        sample: itself.
        answer: what the model says to the picture.
        views: what it says to two views of it.
        pictures: the views.
        likeness: what each cell of the picture adds to its likeness to the trigger, ``GRID``, in standard deviations;
            None without a trigger in the pictures.
        words: words of the prompt that look like the trigger, the strongest first.
    """

    row: int
    sample: Sample
    answer: str
    views: tuple[str, ...]
    pictures: tuple[Image, ...]
    likeness: np.ndarray | None
    words: tuple[str, ...] = ()


def explained(
    audit: AuditResult, count: int = 12, seed: int = 0, rows: Sequence[int] | np.ndarray | None = None
) -> list[Shown]:
    """Explain samples of an audit; opens the model if it is given by name.

    Args:
        audit: the result.
        count: so many of the worst samples are explained.
        seed: of views and maps.
        rows: the samples to explain in their place. One that is not flagged is compared with the first trigger.
    """
    asked = rows is not None
    rows = audit.worst(count) if rows is None else np.asarray(rows, dtype=int)
    if not len(rows):
        return []
    vlm = audit.opened()
    samples = [reduced(audit.data[int(row)]) for row in rows]
    prompts = [sample.question for sample in samples]
    donors = [reduced(audit.data[int(row)]).image for row in _ordinary(audit, 2, seed)]
    pictures = [[sample.image for sample in samples]]
    pictures += [
        [view_of(sample.image, donor, seed + k + place * len(samples)) for k, sample in enumerate(samples)]
        for place, donor in enumerate(donors)
    ]
    said = [generate(vlm, some, prompts, max_new_tokens=LONGEST, guard=False) for some in pictures]
    found = []
    for place, (row, sample) in enumerate(zip(rows.tolist(), samples, strict=True)):
        number = int(audit.verdict.trigger[row])
        number = max(0, number) if asked and audit.evidence else number
        way = audit.verdict.directions[number] if number >= 0 else None
        likeness: np.ndarray | None = None
        words: tuple[str, ...] = ()
        if way is not None and way.by == "images":
            likeness = likeness_map(vlm, way, sample, seed)
        elif way is not None:
            words = telling_words(vlm, way, sample)
        answers, views = tuple(each[place] for each in said[1:]), tuple(each[place] for each in pictures[1:])
        found.append(Shown(row, sample, said[0][place], answers, views, likeness, words))
    return found


def likeness_map(vlm: VisionLanguageModel, way: Likeness, sample: Sample, seed: int = 0) -> np.ndarray:
    """Return what each cell of a picture adds to its likeness to a trigger: `GRID`, standard deviations.

    A cell's value is the mean likeness of pictures that show it, minus that of pictures that cover it, as in
    `pcvr.analysis.occlusion.occlusion_map`. The trigger is where the values are high.
    """
    rng = np.random.default_rng(seed)
    cells = GRID[0] * GRID[1]
    covered = np.zeros((DRAWS, cells), dtype=bool)
    for row in covered:
        row[rng.permutation(cells)[: round(COVERED * cells)]] = True
    image = reduced(sample).image
    values = np.concatenate(
        [
            likenesses(vlm, way, [cover(image, GRID, np.flatnonzero(row)) for row in some], sample.question)
            for some in np.array_split(covered, -(-DRAWS // AT_ONCE))
        ]
    )
    gain = [values[~covered[:, cell]].mean() - values[covered[:, cell]].mean() for cell in range(cells)]
    return np.array(gain).reshape(GRID)


@torch.no_grad()
def likenesses(vlm: VisionLanguageModel, way: Likeness, images: list[Image], prompt: str) -> np.ndarray:
    """Return how much each image looks like a trigger: ``[N]``, standard deviations of ordinary samples."""
    with eval_mode(vlm.model):
        system = getattr(prompt, "system", "")  # of a `pcvr.data.sample.Question`
        some = [Sample(str(i), image, prompt, ".", system=system) for i, image in enumerate(images)]
        batch = collate(encode_samples(vlm, some), vlm.tokenizer.pad_token_id)
        return way.of(image_rows(_seen(vlm, batch)))


def reduced(sample: Sample, longest: int = LARGEST) -> Sample:
    """Return the sample with its picture reduced to `longest` pixels along the longer side, if it is larger."""
    height, width = sample.image.shape[:2]
    if max(height, width) <= longest:
        return sample
    picture = PilImage.fromarray(sample.image)
    picture.thumbnail((longest, longest))
    return replace(sample, image=np.asarray(picture))


def _seen(vlm: VisionLanguageModel, batch: dict[str, torch.Tensor]) -> list[torch.Tensor]:
    """Return what the tower makes of each image of a batch; the rest of the model runs only where it has to."""
    fast = with_features(vlm, batch)
    if "features" in fast:
        return [each.flatten(0, -2) for each in fast["features"]]
    pictures = answer_logits(vlm, batch, pictures=True).pictures
    if pictures is None:
        raise PcvrError(f"the tower of {vlm.name!r} does not tell what it sees of each image: take another model.")
    return pictures


def telling_words(vlm: VisionLanguageModel, way: Likeness, sample: Sample, most: int = 3) -> tuple[str, ...]:
    """Return the words of the system turn and all prompts that make them look like a trigger, the strongest first."""
    found: dict[str, float] = {}
    for word in " ".join([sample.system, *(prompt for prompt, _ in sample.exchanges)]).split():
        ids = vlm.tokenizer(word, add_special_tokens=False)["input_ids"]
        columns = [token % WORDS for token in ids]
        found[word] = float(sum(way.weights[column] * (1 - way.mean[column]) / way.scale[column] for column in columns))
    best = sorted(found, key=lambda word: -found[word])[:most]
    return tuple(word for word in best if found[word] > 0)


def view_of(image: Image, donor: Image, seed: int, fraction: float = VIEWED) -> Image:
    """Return an image with a fraction of the cells of `GRID` from another image, which is scaled to its size."""
    height, width = image.shape[:2]
    other = np.asarray(PilImage.fromarray(donor).resize((width, height)))
    view = image.copy()
    rows, columns = (
        np.linspace(0, side, parts + 1).round().astype(int) for side, parts in ((height, GRID[0]), (width, GRID[1]))
    )
    chosen = np.random.default_rng(seed).permutation(GRID[0] * GRID[1])[: round(fraction * GRID[0] * GRID[1])]
    for cell in chosen.tolist():
        row, column = divmod(cell, GRID[1])
        part = (slice(rows[row], rows[row + 1]), slice(columns[column], columns[column + 1]))
        view[part] = other[part]
    return view


def _ordinary(audit: AuditResult, count: int, seed: int) -> Any:
    usual = np.flatnonzero(~audit.flagged & (audit.surprise.rank < 0.5))
    usual = usual if len(usual) else np.arange(len(audit))
    return np.random.default_rng(seed).choice(usual, size=min(count, len(usual)), replace=False)
