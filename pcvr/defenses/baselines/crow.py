"""CROW (arXiv 2411.12768): keep hidden states consistent from layer to layer, even if the input is perturbed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import cosine_similarity, cross_entropy

from pcvr.defenses.base import Defense, StagePlan
from pcvr.defenses.registry import register_defense
from pcvr.errors import PcvrError
from pcvr.utils.checks import check_choice, check_number
from pcvr.utils.renamed import accepts_old_names

if TYPE_CHECKING:
    from pcvr.defenses.base import Fit
    from pcvr.defenses.context import TrainingContext
    from pcvr.models.encode import Batch
    from pcvr.models.vlm import VisionLanguageModel

ON = ("all", "clean")


@register_defense
@accepts_old_names
@dataclass(frozen=True)
class Crow(Defense):
    """Minimise cross-entropy plus `alpha` times the layer-to-layer inconsistency under a small adversarial input shift.

    ``L = CE(x) + alpha C(e + eps sign(grad_e C(e)))``, where ``e`` are the language model's input embeddings and
    ``C = mean over layers l and tokens t of 1 - cos(h_l[t], h_(l+1)[t])``: the paper's consistency loss, its shift (one
    step of the fast gradient sign method) and its sum of the two. ``alpha = 5.5`` and ``eps = 0.1`` are the defaults of
    the public code, chosen there for the text of language models of 7 B and more.

    What differs, and why: the shift comes from a gradient with respect to the embeddings alone, so that it does not
    enter the gradients of the parameters. Both passes start at the same embeddings, and the second takes the shift as a
    constant. ``h_1 .. h_L`` are the outputs of the L decoder layers. The embeddings, which have another scale, and the
    output of the last norm are left out. Padding does not count. Ours too: image tokens are shifted and counted like
    text tokens.

    The paper applies the loss after training, to a few clean samples: that is ``on="clean"``, a second stage on the
    samples of ``finetune(clean=...)``, whose length and learning rate are ours. The default ``on="all"`` regularises
    the fine-tuning itself and needs no clean data; the paper does not claim that this works.

    A step costs a second forward and backward pass through the language model, and one more backward pass for the
    shift.

    Attributes:
        alpha: weight of the inconsistency, 0 or more; 0 is plain fine-tuning.
        epsilon: size of the shift of each embedding coordinate, 0 or more.
        on: ``"all"`` during the fine-tuning, ``"clean"`` in a stage after it.
        fraction: steps of this stage as a fraction of the configured ones, in ``(0, 1]``.
        rate: factor on the configured learning rate in this stage, above 0.
    """

    name: ClassVar[str] = "crow"
    RENAMED: ClassVar[Mapping[str, str]] = {"share": "fraction"}
    alpha: float = field(default=5.5, metadata={"help": "weight of the inconsistency, 0 or more (public code: 5.5)"})
    epsilon: float = field(default=0.1, metadata={"help": "shift of each embedding coordinate (public code: 0.1)"})
    on: str = field(default="all", metadata={"help": "all: while fine-tuning (ours); clean: after it (paper)"})
    fraction: float = field(default=0.25, metadata={"help": "steps of the stage on clean data, (0, 1] (ours)"})
    rate: float = field(default=0.25, metadata={"help": "factor on its learning rate, above 0 (ours)"})

    def __post_init__(self) -> None:
        super().__post_init__()
        check_number("alpha", self.alpha, 0, 1e6)
        check_number("epsilon", self.epsilon, 0, 1e6)
        check_choice("choice of on", self.on, ON)
        check_number("fraction", self.fraction, 0, 1, above=True)
        check_number("rate", self.rate, 0, 1e6, above=True)

    @property
    def starts_plain(self) -> bool:
        """See `Defense.starts_plain`."""
        return self.on == "clean"

    def begin(self, run: TrainingContext) -> None:
        """Check data and model before the training.

        Raises:
            PcvrError: ``on="clean"`` without clean samples, or a language model with fewer than two layers.
        """
        if self.on == "clean" and run.clean is None:
            raise PcvrError(
                "defence 'crow' with on='clean' needs clean data: give finetune(clean=...) some trusted samples, "
                "or take on='all'."
            )
        if (count := len(decoder_layers(run.vlm))) < 2:
            raise PcvrError(f"defence 'crow' compares layers and the language model has {count}: take a deeper one.")

    def loss(self, run: TrainingContext, batch: Batch) -> Tensor:
        """Return the cross-entropy, in CROW's stage plus the weighted inconsistency of the shifted pass."""
        if not self.alpha or (self.on == "clean" and run.stage != "crow"):
            return super().loss(run, batch)
        mask = batch["attention_mask"].to(run.vlm.device)
        with recorded_layers(run.vlm) as plain:
            said = run.forward(batch)
        (slope,) = torch.autograd.grad(inconsistency(plain.layers, mask), plain.shift, retain_graph=True)
        with recorded_layers(run.vlm, self.epsilon * slope.sign()) as shifted:
            run.forward(batch)
        rough = inconsistency(shifted.layers, mask)
        run.log["layers apart"] = float(rough.detach())
        return cross_entropy(said.logits, said.targets) + self.alpha * rough

    def train(self, run: TrainingContext, fit: Fit) -> None:
        """Train in one stage, or plainly and then on the clean samples."""
        fit()
        if self.on == "clean":
            fit(StagePlan("crow", fraction=self.fraction, rate=self.rate, clean=True))


def inconsistency(layers: Sequence[Tensor], mask: Tensor) -> Tensor:
    """Return how much hidden states change from layer to layer: ``mean_l mean_t 1 - cos(h_l[t], h_(l+1)[t])``.

    Args:
        layers: at least two tensors ``[B, T, D]``, in order.
        mask: ``[B, T]``, 1 for tokens that count and 0 for padding; all tokens of a batch have the same weight.

    Returns:
        A scalar in ``[0, 2]``; 0 if no token counts.
    """
    counts = mask.to(layers[0].device).float()
    turns = [1 - cosine_similarity(a.float(), b.float(), dim=-1) for a, b in pairwise(layers)]
    return (torch.stack(turns).mean(0) * counts).sum() / counts.sum().clamp_min(1)


@dataclass
class RecordedPass:
    """Input shift and layers of one forward pass.

    Attributes:
        call: the arguments of the language model's call, before the shift; with them it can be called again.
        shift: ``[B, T, D]``, added to the input embeddings; zeros that take a gradient if none was given.
        layers: ``[B, T, D]`` for each decoder layer in order, before the last norm.
    """

    shift: Tensor | None = None
    layers: list[Tensor] = field(default_factory=list)
    call: dict[str, Any] = field(default_factory=dict)


@contextmanager
def recorded_layers(vlm: VisionLanguageModel, shift: Tensor | None = None) -> Iterator[Any]:
    """Add `shift` ``[B, T, D]`` to the language model's input embeddings in one pass inside the block, and record it.

    Yields:
        A `RecordedPass`, filled by the pass.
    """
    passed = RecordedPass(shift)

    def add(_module: Any, args: Any, kwargs: dict[str, Any]) -> Any:
        given = kwargs["inputs_embeds"]
        passed.call = dict(kwargs)
        if passed.shift is None:
            passed.shift = torch.zeros_like(given, requires_grad=True)
        return args, kwargs | {"inputs_embeds": given + passed.shift}

    def keep(_module: Any, _inputs: Any, output: Any) -> None:
        passed.layers.append(output[0] if isinstance(output, tuple) else output)

    speaker = vlm.family.part(vlm.model, "language_model")
    hooks = [speaker.register_forward_pre_hook(add, with_kwargs=True)]
    hooks += [layer.register_forward_hook(keep) for layer in decoder_layers(vlm)]
    try:
        yield passed
    finally:
        for hook in hooks:
            hook.remove()


def decoder_layers(vlm: VisionLanguageModel) -> nn.ModuleList:
    """Return the language model's decoder layers, wherever its architecture keeps them.

    Raises:
        PcvrError: the model has no list of them.
    """
    for path, module in vlm.family.part(vlm.model, "language_model").named_modules():
        if path.rpartition(".")[2] == "layers" and isinstance(module, nn.ModuleList):
            return module
    raise PcvrError(
        f"the language model of {vlm.name!r} has no list named 'layers', whose outputs this defence compares: take "
        "another model or defence."
    )
