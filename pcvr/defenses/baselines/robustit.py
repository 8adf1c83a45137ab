"""RobustIT (arXiv 2506.05401) as far as its abstract says: diverse inputs, and sharp activations dropped."""

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
    """Fine-tuning on inputs that are never twice the same, with the sharpest activations of the image tokens dropped.

    What the paper's abstract states: only adapters and the text embedding are tuned; "input diversity regularisation"
    applies random spatial, colour and textual perturbations, so that a fixed trigger meets no fixed response;
    "anomalous activation regularisation" dynamically sparsifies adapter channels with abnormally sharp activations. We
    have not read its formulas, so every form, number and place below is ours:

    - spatial: each step draws one of `operators` and a share of the patches from ``(0, most]``;
    - colour: each channel of each picture becomes ``gain * x + shift``, ``gain`` from ``1 +- colour``, ``shift`` from
      ``+- colour`` (in the processor's normalised levels, where 1 is about one standard deviation);
    - textual: each word of the prompt is hidden from attention with probability `words`;
    - activations: of the connector's output ``a[p, n, d]`` (picture, token, channel), channel ``d`` of picture ``p`` is
      set to the channel's running mean ``m[d]`` at every token if ``max_n |a[p, n, d] - m[d]| > q[d]``, where ``q[d]``
      is the running ``1 - sharpest`` quantile of that peak over the pictures of a batch. Only in training: the trained
      model answers as it is. The text embedding stays frozen, as for every defence here.

    The loss is the mean cross-entropy of the answer tokens. Needs no clean data; costs the tower's pass on each batch.

    Attributes:
        operators: the patch operators that are drawn from, at least one of `pcvr.views.OPERATORS`.
        most: greatest share of patches that change, in ``(0, 1]``.
        colour: how far colours move, in ``[0, 1]``; 0 leaves them.
        words: share of prompt words that are hidden, in ``[0, 1]``; 0 hides none.
        sharpest: share of pictures in which a channel counts as too sharp, in ``[0, 1]``; 0 drops none.
        momentum: how fast running values follow a batch, in ``(0, 1]``; 1 knows the last batch only.
    """

    name: ClassVar[str] = "robustit"
    operators: tuple[str, ...] = field(default=OPERATORS, metadata={"help": "patch operators to draw from (ours)"})
    most: float = field(default=0.4, metadata={"help": "greatest share of patches that change, (0, 1] (ours)"})
    colour: float = field(default=0.2, metadata={"help": "how far colours move, [0, 1] (paper: colour; size ours)"})
    words: float = field(default=0.1, metadata={"help": "share of prompt words hidden, [0, 1] (paper: text; ours)"})
    sharpest: float = field(default=0.05, metadata={"help": "share of pictures a channel is dropped in, [0, 1] (ours)"})
    momentum: float = field(default=0.1, metadata={"help": "how fast running values follow, (0, 1] (ours)"})

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
        """The mean cross-entropy over the answer tokens of a batch seen through both parts."""
        seen = run.view(batch, self.drawn_view(run.generator))
        if self.words:
            seen = seen | {"attention_mask": hide_words(run.vlm, batch, self.words, run.generator)}
        with sparsified(run, self.sharpest, self.momentum):
            said = run.forward(seen)
        return cross_entropy(said.logits, said.targets)

    def drawn_view(self, generator: torch.Generator) -> ColouredView:
        """This step's perturbation: an operator and a share in ``(0, most]``, each drawn evenly."""
        operator = self.operators[int(torch.randint(len(self.operators), (), generator=generator))]
        share = self.most * (1 - float(torch.rand((), generator=generator)))
        return ColouredView(operator, share, level="pixels", colour=self.colour)


@dataclass(frozen=True)
class ColouredView(PatchView):
    """A patch view whose colours move too: ``gain * x + shift``, one draw for each channel of each picture (or tile).

    Attributes:
        colour: half the width of both ranges; values are not clipped, since what is black hangs on the processor.
    """

    colour: float = field(default=0.0, metadata={"help": "how far colours move, [0, 1] (ours)"})

    def __call__(self, pixels: Tensor, generator: torch.Generator, donors: Tensor | None = None) -> Tensor:
        """As `PatchView`, then the colours: float ``[B, C, H, W]``, and as many back."""
        seen = super().__call__(pixels, generator, donors)
        drawn = self.colour * (2 * torch.rand(2, *pixels.shape[:2], 1, 1, generator=generator) - 1)
        gain, shift = drawn.to(seen)
        return seen * (1 + gain) + shift


def hide_words(vlm: VisionLanguageModel, batch: Batch, share: float, generator: torch.Generator) -> Tensor:
    """The batch's ``attention_mask`` ``[B, T]`` with some words of the prompt switched off.

    A word that is switched off keeps its place and nothing looks at it. The answer, the first token and whatever the
    tokenizer holds beside words (pictures, marks of the template) stay.

    Args:
        vlm: whose tokenizer says what is a word.
        batch: ``input_ids``, ``attention_mask`` and ``labels`` are read.
        share: probability for each word, 0 to 1.
        generator: source of all randomness.
    """
    mask = batch["attention_mask"]
    ids = batch["input_ids"]
    kept = torch.tensor(sorted({*vlm.tokenizer.all_special_ids, *vlm.tokenizer.added_tokens_decoder}))
    words = (batch["labels"] == IGNORE) & ~torch.isin(ids, kept.to(ids))
    words[:, 0] = False  # some attention gives no number in a row that may look at nothing
    hidden = torch.rand(ids.shape, generator=generator) < share
    return mask * (1 - (words & hidden.to(ids.device)).to(mask))


@contextmanager
def sparsified(run: TrainingContext, sharpest: float, momentum: float) -> Iterator[None]:
    """Inside the block the connector's output goes through `drop_sharp`; running values are kept in ``run.state``."""

    def drop(_module: Any, _inputs: Any, output: Tensor) -> Tensor:
        tokens = output if output.dim() == 3 else output[:, None]  # Qwen's pictures lie in one row: token by token
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
    """Set channels to their running mean in the pictures where they peak unusually high.

    Args:
        tokens: ``[P, N, D]``, pictures, tokens, channels.
        running: mean and peak of each channel so far, ``[D]`` each, or None before the first batch.
        sharpest: share of the pictures, 0 to 1, that lies above the peak which still passes.
        momentum: weight of this batch in the running values; the first one sets them.

    Returns:
        The tokens, without gradient where dropped, and the running values with this batch in them. A lone picture is
        all its batch, so that only running values from before can say that it peaks.
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
