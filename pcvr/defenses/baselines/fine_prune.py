"""Fine-pruning (arXiv 1805.12185) of the connector: prune what clean images do not use, then tune on clean data."""

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
from pcvr.utils.renamed import accepts_old_names

if TYPE_CHECKING:
    from pcvr.defenses.context import TrainingContext
    from pcvr.models.vlm import VisionLanguageModel


@register_defense
@accepts_old_names
@dataclass(frozen=True)
class FinePrune(Defense):
    """Fine-tune on everything, prune the connector's channels that are dormant on clean images, tune on clean data.

    Liu et al. 2018 find that a backdoor uses neurons that are dormant on clean inputs. They rank the channels of the
    last convolution by their mean activation on clean inputs, set the least active to zero and fine-tune on clean data.

    Here the channels are those of the connector's adapted linear layers, hidden and output (two layers in LLaVA, one in
    BLIP-2 and Idefics3; BLIP-2's Q-Former is not pruned). We prune *what fine-tuning wrote* to a channel, which is
    ours. With ``y = W x + b + s B A x`` the activity of channel ``c`` is ``mean |(B A x)_c|`` over the image tokens of
    the clean samples. A pruned channel gets the row ``B_c = 0``, so that it becomes that of the base model. Why not
    ``y_c = 0``: an adapter of rank r can cancel the rows of W in at most r channels, which uses all of its rank, and it
    cannot cancel the bias. Zeros outside the adapter would be lost when plain peft opens it. Besides, the attacker
    controls the fine-tuning data and not the base model, so the base model's part of a channel needs no pruning.

    Ours too: we prune a fixed fraction, while the paper prunes until the accuracy on validation data falls. The pruned
    rows stay exactly zero in the second stage, since their gradient is set to zero. This defence cannot reach a
    backdoor in the adapters of the language model.

    Needs clean data (``finetune(clean=...)``), to rank and to tune. ``run.state`` gets ``pruned``: for each layer
    a bool tensor ``[channels]``.

    Attributes:
        prune: fraction of each layer's channels that is pruned, in ``(0, 1)``; at least one is, and one is kept.
        fraction: steps of the second stage as a fraction of the configured ones, in ``(0, 1)``.
        rate: factor on the configured learning rate in the second stage, above 0.
    """

    name: ClassVar[str] = "fine_prune"
    needs_clean: ClassVar[bool] = True
    RENAMED: ClassVar[Mapping[str, str]] = {"share": "fraction"}
    prune: float = field(default=0.5, metadata={"help": "fraction of channels pruned, (0, 1) (ours)"})
    fraction: float = field(default=0.25, metadata={"help": "steps of the stage on clean data, (0, 1) (ours)"})
    rate: float = field(default=0.25, metadata={"help": "factor on its learning rate, above 0 (ours)"})

    def __post_init__(self) -> None:
        super().__post_init__()
        check_number("prune", self.prune, 0, 1, above=True)
        if self.prune == 1:
            raise PcvrError("prune is 1: give a fraction below 1, so that some channels are left.")
        check_stage(self.fraction, self.rate)

    def begin(self, run: TrainingContext) -> None:
        """Check the model before the training.

        Raises:
            PcvrError: no part of the connector has an adapter.
        """
        written(run.vlm)

    def train(self, run: TrainingContext, fit: Fit) -> None:
        """Train on everything, prune, then train on the clean samples with the pruned channels held at zero."""
        fit()
        layers = written(run.vlm)
        pruned = {name: least(active, self.prune) for name, active in activity(run, layers).items()}
        run.state["pruned"] = pruned
        with held_at_zero(layers, pruned):
            fit(StagePlan("clean", fraction=self.fraction, rate=self.rate, clean=True))


def written(vlm: VisionLanguageModel) -> dict[str, nn.Linear]:
    """Return the layers that write the adapter's part of the connector's channels, ``B`` of ``B A``, by dotted path.

    Raises:
        PcvrError: the connector has no adapter.
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
    """Return each channel's mean absolute output over the image tokens of the clean samples: ``[channels]`` a layer.

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


def least(active: Tensor, fraction: float) -> Tensor:
    """Mark the least active `fraction` of the channels: bool ``[channels]``, at least one and not all."""
    count = min(max(1, round(fraction * len(active))), len(active) - 1)
    pruned = torch.zeros(len(active), dtype=torch.bool)
    pruned[active.argsort(stable=True)[:count]] = True
    return pruned


@contextmanager
def held_at_zero(layers: Mapping[str, nn.Linear], pruned: Mapping[str, Tensor]) -> Iterator[None]:
    """Set the pruned rows of each layer's weight to zero, and their gradients to zero inside the block.

    A row without gradient stays unchanged, since there is no weight decay and a new optimiser has zero moments.
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
