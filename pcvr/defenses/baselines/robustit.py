"""RobustIT (arXiv 2506.05401), as far as its abstract says: diverse inputs, and dropped sharp activations."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from pcvr.defenses.base import Defense
from pcvr.defenses.registry import register_defense
from pcvr.errors import PcvrError
from pcvr.models.encode import IGNORE, Batch
from pcvr.utils.checks import check_choice, check_number
from pcvr.views import OPERATORS, PatchView

if TYPE_CHECKING:
    from pcvr.defenses.context import TrainingContext
    from pcvr.models.vlm import VisionLanguageModel


@register_defense
@dataclass(frozen=True)
class RobustIT(Defense):
    """Fine-tune on randomly perturbed inputs, and drop the sharpest activations of the image tokens.

    What the paper's abstract states: only adapters and the text embedding are tuned; "input diversity regularisation"
    applies random spatial, colour and textual perturbations, so that a fixed trigger gets no fixed response;
    "anomalous activation regularisation" dynamically sparsifies adapter channels with abnormally sharp activations. We
    have not read its formulas, so every form, number and place below is ours:

    - spatial: each step draws one of `operators` and a fraction of the patches from ``(0, most]``;
    - colour: each channel of each image becomes ``gain * x + shift``, ``gain`` from ``1 +- colour``, ``shift`` from
      ``+- colour`` (in the processor's normalised levels, where 1 is about one standard deviation);
    - textual: each word of the prompt is hidden from attention with probability `words`;
    - activations: of the connector's output ``a[p, n, d]`` (image, token, channel), channel ``d`` of image ``p`` is
      set to the channel's running mean ``m[d]`` at every token if ``max_n |a[p, n, d] - m[d]| > q[d]``, where ``q[d]``
      is the running ``1 - sharpest`` quantile of that peak over the images of a batch. Only in training: the trained
      model answers unchanged. The text embedding stays frozen, as for every defence here.

    The loss is the mean cross-entropy of the answer tokens. Needs no clean data; costs the tower's pass on each batch.

    Attributes:
        operators: the patch operators to draw from, at least one of `pcvr.views.OPERATORS`.
        most: greatest fraction of patches that change, in ``(0, 1]``.
        colour: size of the colour changes, in ``[0, 1]``; 0 for none.
        words: fraction of prompt words that are hidden, in ``[0, 1]``; 0 for none.
        sharpest: fraction of images in which a channel counts as too sharp, in ``[0, 1]``; 0 drops none.
        momentum: weight of a batch in the running values, in ``(0, 1]``; 1 uses the last batch only.
    """

    name: ClassVar[str] = "robustit"
    operators: tuple[str, ...] = field(default=OPERATORS, metadata={"help": "patch operators to draw from (ours)"})
    most: float = field(default=0.4, metadata={"help": "greatest fraction of patches that change, (0, 1] (ours)"})
    colour: float = field(default=0.2, metadata={"help": "size of colour changes, [0, 1] (paper: colour; size ours)"})
    words: float = field(default=0.1, metadata={"help": "fraction of prompt words hidden, [0, 1] (paper: text; ours)"})
    sharpest: float = field(default=0.05, metadata={"help": "fraction of images with a channel dropped, [0, 1] (ours)"})
    momentum: float = field(default=0.1, metadata={"help": "weight of a batch in running values, (0, 1] (ours)"})

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.operators, tuple) or not self.operators:
            raise PcvrError(f"operators is {self.operators!r}: give a tuple of some of {', '.join(OPERATORS)}.")
        for operator in self.operators:
            check_choice("view operator in operators", operator, OPERATORS)
        for name in ("colour", "words", "sharpest"):
            check_number(name, getattr(self, name), 0, 1)
        for name in ("most", "momentum"):
            check_number(name, getattr(self, name), 0, 1, above=True)

    def loss(self, run: TrainingContext, batch: Batch) -> Tensor:
        """Return the mean cross-entropy of the answer tokens of a batch after both parts."""
        seen = run.view(batch, self.drawn_view(run.generator))
        if self.words:
            seen = seen | {"attention_mask": hide_words(run.vlm, batch, self.words, run.generator)}
        with sparsified(run, self.sharpest, self.momentum):
            said = run.forward(seen)
        return cross_entropy(said.logits, said.targets)

    def drawn_view(self, generator: torch.Generator) -> ColouredView:
        """Draw the perturbation of this step: an operator and a fraction in ``(0, most]``, both uniform."""
        operator = self.operators[int(torch.randint(len(self.operators), (), generator=generator))]
        fraction = self.most * (1 - float(torch.rand((), generator=generator)))
        return ColouredView(operator, fraction, level="pixels", colour=self.colour)


@dataclass(frozen=True)
class ColouredView(PatchView):
    """A patch view that also changes colours: ``gain * x + shift``, one draw for each channel of each image (or tile).

    Attributes:
        colour: half the width of both ranges; values are not clipped, since the processor decides what black is.
    """

    colour: float = field(default=0.0, metadata={"help": "size of colour changes, [0, 1] (ours)"})

    def __call__(self, pixels: Tensor, generator: torch.Generator, donors: Tensor | None = None) -> Tensor:
        """Perturb patches as `PatchView`, then colours: float ``[B, C, H, W]`` to the same shape."""
        seen = super().__call__(pixels, generator, donors)
        drawn = self.colour * (2 * torch.rand(2, *pixels.shape[:2], 1, 1, generator=generator) - 1)
        gain, shift = drawn.to(seen)
        return seen * (1 + gain) + shift


def hide_words(vlm: VisionLanguageModel, batch: Batch, fraction: float, generator: torch.Generator) -> Tensor:
    """Return the batch's ``attention_mask`` ``[B, T]`` with some words of the prompt hidden.

    A hidden word keeps its position, and no token attends to it. The answer, the first token and all tokens that are no
    words (images, marks of the template) stay visible.

    Args:
        vlm: the model whose tokenizer decides what is a word.
        batch: ``input_ids``, ``attention_mask`` and ``labels`` are read.
        fraction: probability for each word, 0 to 1.
        generator: source of all randomness.
    """
    mask = batch["attention_mask"]
    ids = batch["input_ids"]
    kept = torch.tensor(sorted({*vlm.tokenizer.all_special_ids, *vlm.tokenizer.added_tokens_decoder}))
    words = (batch["labels"] == IGNORE) & ~torch.isin(ids, kept.to(ids))
    words[:, 0] = False  # some attention kernels give NaN for a row without visible tokens
    hidden = torch.rand(ids.shape, generator=generator) < fraction
    return mask * (1 - (words & hidden.to(ids.device)).to(mask))


@contextmanager
def sparsified(run: TrainingContext, sharpest: float, momentum: float) -> Iterator[None]:
    """Pass the connector's output through `drop_sharp` inside the block; ``run.state`` keeps the running values."""

    def drop(_module: Any, _inputs: Any, output: Tensor) -> Tensor:
        tokens = output if output.dim() == 3 else output[:, None]  # Qwen packs images in one row: token by token
        kept, running = drop_sharp(tokens, run.state.get("robustit"), sharpest, momentum)
        run.state["robustit"] = running
        run.log["channels dropped"] = float((kept != tokens).any(1).float().mean())
        return kept.view_as(output)

    hook = run.vlm.family.part(run.vlm.model, "connector").register_forward_hook(drop) if sharpest else None
    try:
        yield
    finally:
        if hook is not None:
            hook.remove()


def drop_sharp(
    tokens: Tensor, running: tuple[Tensor, Tensor] | None, sharpest: float, momentum: float
) -> tuple[Tensor, tuple[Tensor, Tensor]]:
    """Set channels to their running mean in the images where their peak is unusually high.

    Args:
        tokens: ``[P, N, D]``, images, tokens, channels.
        running: mean and peak of each channel so far, ``[D]`` each, or None before the first batch.
        sharpest: fraction of the images, 0 to 1, whose peak is too high.
        momentum: weight of this batch in the running values; the first one sets them.

    Returns:
        The tokens, without gradient where dropped, and the running values including this batch. A single image is its
        whole batch, so only earlier running values can show that its peak is high.
    """
    with torch.no_grad():
        mean = tokens.float().mean((0, 1))
        if running is not None:
            mean = torch.lerp(running[0], mean, momentum)
        peak = (tokens.float() - mean).abs().amax(1)  # [P, D]
        passes = peak.quantile(1 - sharpest, dim=0)
        if running is not None:
            passes = torch.lerp(running[1], passes, momentum)
        sharp = (peak > passes)[:, None]  # [P, 1, D]
    return torch.where(sharp, mean.to(tokens.dtype), tokens), (mean, passes)
