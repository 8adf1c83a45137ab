"""Fine-pruning (arXiv 1805.12185) of the connector: what clean pictures do not use is taken out, then clean tuning."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor, nn

from pcvr.defenses.base import Defense, Fit, StagePlan
from pcvr.defenses.baselines.clean_tune import check_stage
from pcvr.defenses.registry import register_defense
from pcvr.errors import PcvrError
from pcvr.utils.checks import check_number

if TYPE_CHECKING:
    from pcvr.defenses.context import TrainingContext
    from pcvr.models.vlm import VisionLanguageModel


@register_defense
@dataclass(frozen=True)
class FinePrune(Defense):
    """Fine-tune on everything, prune the connector's channels that are dormant on clean pictures, tune on clean data.

    Liu et al. 2018 find that a backdoor sits in neurons that clean inputs leave dormant. They rank the channels of the
    last convolution by their mean activation on clean inputs, set the least active to zero and fine-tune on clean data.

    Here the channels are those of the connector's adapted linear layers, hidden and output (two layers in LLaVA, one in
    BLIP-2 and Idefics3; BLIP-2's Q-Former is not pruned). What is pruned is *what fine-tuning wrote* to a channel, and
    that is ours: with ``y = W x + b + s B A x`` the activity of channel ``c`` is ``mean |(B A x)_c|`` over the image
    tokens of the clean samples, and a pruned channel gets the row ``B_c = 0``, so that it falls back to the base
    model's. Why not ``y_c = 0``: an adapter of rank r can cancel the rows of W in at most r channels and then holds
    nothing else, and it cannot cancel the bias; zeros outside the adapter would be lost when plain peft opens it. And
    the attacker controls the fine-tuning data, not the base model, whose part of a channel needs no pruning.

    Ours too: a fixed share is pruned where the paper prunes until the accuracy on validation data falls. The pruned
    rows stay exactly zero in the second stage, since their gradient is set to zero. A backdoor that sits in the
    language model's adapters is out of this defence's reach.

    Needs clean data (``finetune(clean=...)``), both to rank and to tune. ``run.state`` gets ``pruned``: for each layer
    a bool tensor ``[channels]``.

    Attributes:
        prune: share of each layer's channels that is pruned, in ``(0, 1)``; at least one is, and one is kept.
        share: steps of the second stage as a share of the configured ones, in ``(0, 1)``.
        rate: factor on the configured learning rate in the second stage, above 0.
    """

    name: ClassVar[str] = "fine_prune"
    needs_clean: ClassVar[bool] = True
    prune: float = field(default=0.5, metadata={"help": "share of channels pruned, (0, 1) (ours)"})
    share: float = field(default=0.25, metadata={"help": "steps of the stage on clean data, (0, 1) (ours)"})
    rate: float = field(default=0.25, metadata={"help": "factor on its learning rate, above 0 (ours)"})

    def __post_init__(self) -> None:
        super().__post_init__()
        check_number("prune", self.prune, 0, 1, above=True)
        if self.prune == 1:
            raise PcvrError("prune is 1: give a share below it, so that some channels are left.")
        check_stage(self.share, self.rate)

    def begin(self, run: TrainingContext) -> None:
        """Refuse at once what would fail after a whole training.

        Raises:
            PcvrError: no part of the connector has an adapter.
        """
        written(run.vlm)

    def train(self, run: TrainingContext, fit: Fit) -> None:
        """On everything; prune; on the clean samples with the pruned channels held at zero."""
        fit()
        layers = written(run.vlm)
        pruned = {name: least(active, self.prune) for name, active in activity(run, layers).items()}
        run.state["pruned"] = pruned
        with held_at_zero(layers, pruned):
            fit(StagePlan("clean", fraction=self.share, rate=self.rate, clean=True))


def written(vlm: VisionLanguageModel) -> dict[str, nn.Linear]:
    """The layers that write the adapter's part of the connector's channels, ``B`` of ``B A``, by their dotted paths.

    Raises:
        PcvrError: there is none.
    """
    connector = vlm.family.part(vlm.model, "connector")
    found = {
        name: part
        for name, part in connector.named_modules()
        if isinstance(part, nn.Linear) and "lora_B" in name.split(".")[:-1]
    }
    if not found:
        raise PcvrError(
            f"the connector of {vlm.name!r} has no adapter: defence 'fine_prune' prunes what fine-tuning wrote there, "
            "so take a family whose lora_targets reach it."
        )
    return found


@torch.no_grad()
def activity(run: TrainingContext, layers: Mapping[str, nn.Linear], batch_size: int | None = None) -> dict[str, Tensor]:
    """Mean absolute output of each channel of `layers` over the image tokens of the clean samples: ``[channels]`` each.

    Raises:
        PcvrError: there are no clean samples.
    """
    if run.clean is None:
        raise PcvrError("defence 'fine_prune' needs clean data: give finetune(clean=...) some trusted samples.")
    sums = {name: torch.zeros(layer.out_features, dtype=torch.float64) for name, layer in layers.items()}
    tokens = dict.fromkeys(layers, 0)

    def adding(name: str) -> Any:
        def add(_module: Any, _inputs: Any, output: Tensor) -> None:
            flat = output.detach().abs().flatten(0, -2)  # [samples * tokens, channels]
            sums[name] += flat.double().sum(0).cpu()
            tokens[name] += len(flat)

        return add

    hooks = [layer.register_forward_hook(adding(name)) for name, layer in layers.items()]
    try:
        for batch in run.batches(range(len(run.clean)), 64, data=run.clean, size=batch_size):
            run.forward_no_grad(batch)
    finally:
        for hook in hooks:
            hook.remove()
    return {name: sums[name] / tokens[name] for name in layers}


def least(active: Tensor, share: float) -> Tensor:
    """The `share` of the ``[channels]`` that is least active: bool ``[channels]``, at least one and not all of them."""
    count = min(max(1, round(share * len(active))), len(active) - 1)
    pruned = torch.zeros(len(active), dtype=torch.bool)
    pruned[active.argsort(stable=True)[:count]] = True
    return pruned


@contextmanager
def held_at_zero(layers: Mapping[str, nn.Linear], pruned: Mapping[str, Tensor]) -> Iterator[None]:
    """Set the pruned rows of each layer's weight to zero, and inside the block keep every gradient from them.

    Without weight decay and with the moments of a new optimiser at zero, a row without gradient stays as it is.
    """
    hooks = []
    for name, layer in layers.items():
        kept = (~pruned[name]).to(layer.weight)[:, None]
        with torch.no_grad():
            layer.weight.mul_(kept)
        hooks.append(layer.weight.register_hook(lambda slope, kept=kept: slope * kept))
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
