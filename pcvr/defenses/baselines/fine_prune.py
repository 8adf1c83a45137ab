"""Fine-pruning (arXiv 1805.12185) of adapters: prune what clean samples do not use, then tune on clean data."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor, nn

from pcvr.defenses.base import Defense, Fit, StagePlan
from pcvr.defenses.baselines.clean_tune import check_stage
from pcvr.defenses.context import READ_ON_CPU
from pcvr.defenses.registry import register_defense
from pcvr.errors import PcvrError
from pcvr.models.modes import eval_mode
from pcvr.utils.checks import check_choice, check_number
from pcvr.utils.renamed import accepts_old_names

if TYPE_CHECKING:
    from pcvr.defenses.context import TrainingContext
    from pcvr.models.vlm import VisionLanguageModel

PARTS = {"connector": "connector", "language_model": "language"}
"""Part of a model, and what `FinePrune.where` calls it."""
PLACES = (*PARTS.values(), "both")


@register_defense
@accepts_old_names
@dataclass(frozen=True)
class FinePrune(Defense):
    """Fine-tune on everything, prune the channels that are dormant on clean samples, tune on clean data.

    Liu et al. 2018 find that a backdoor uses neurons that are dormant on clean inputs. They rank the channels of the
    last convolution by their mean activation on clean inputs, set the least active to zero and fine-tune on clean data.

    Here the channels are those of the adapted linear layers of the connector (two layers in LLaVA, one in BLIP-2 and
    Idefics3; BLIP-2's Q-Former is not pruned) and of the language model. Both are pruned by default, because the
    language model's adapters can hold the backdoor alone: ``where="connector"``, which was all that this defence did
    before, cannot reach it there.

    We prune *what fine-tuning wrote* to a channel, which is ours. With ``y = W x + b + s B A x`` the activity of
    channel ``c`` is ``mean |(B A x)_c|`` over the tokens of the clean samples: image tokens in the connector, all
    tokens but padding in the language model. A pruned channel gets the row ``B_c = 0``, so that it becomes that of the
    base model. Why not ``y_c = 0``: an adapter of rank r can cancel the rows of W in at most r channels, which uses all
    of its rank, and it cannot cancel the bias. Zeros outside the adapter would be lost when plain peft opens it.
    Besides, the attacker controls the fine-tuning data and not the base model, so the base model's part of a channel
    needs no pruning.

    Ours too: we prune a fixed fraction, while the paper prunes until the accuracy on validation data falls. The pruned
    rows stay exactly zero in the second stage, since their gradient is set to zero.

    Needs clean data (``finetune(clean=...)``), to rank and to tune. ``run.state`` gets ``pruned``: for each layer
    a bool tensor ``[channels]``.

    Attributes:
        where: ``"connector"``, ``"language"`` or ``"both"``: whose adapters are pruned.
        prune: fraction of each layer's channels that is pruned, in ``(0, 1)``; at least one is, and one is kept.
        fraction: steps of the second stage as a fraction of the configured ones, in ``(0, 1)``.
        rate: factor on the configured learning rate in the second stage, above 0.
    """

    name: ClassVar[str] = "fine_prune"
    needs_clean: ClassVar[bool] = True
    RENAMED: ClassVar[Mapping[str, str]] = {"share": "fraction"}
    ADDED: ClassVar[Mapping[str, Any]] = {"where": "connector"}
    CHANGED: ClassVar[Mapping[str, Any]] = {"where": "connector"}
    prune: float = field(default=0.5, metadata={"help": "fraction of channels pruned, (0, 1) (ours)"})
    fraction: float = field(default=0.25, metadata={"help": "steps of the stage on clean data, (0, 1) (ours)"})
    rate: float = field(default=0.25, metadata={"help": "factor on its learning rate, above 0 (ours)"})
    where: str = field(default="both", metadata={"help": "connector, language or both: adapters to prune (ours)"})

    def __post_init__(self) -> None:
        super().__post_init__()
        check_number("prune", self.prune, 0, 1, above=True)
        if self.prune == 1:
            raise PcvrError("prune is 1: give a fraction below 1, so that some channels are left.")
        check_stage(self.fraction, self.rate)
        check_choice("choice of where", self.where, PLACES)

    @property
    def starts_plain(self) -> bool:
        """See `Defense.starts_plain`."""
        return True

    def begin(self, run: TrainingContext) -> None:
        """Check the model before the training.

        Raises:
            PcvrError: there is no adapter to prune.
        """
        written(run.vlm, self.where)

    def train(self, run: TrainingContext, fit: Fit) -> None:
        """Train on everything, prune, then train on the clean samples with the pruned channels held at zero."""
        fit()
        layers = written(run.vlm, self.where)
        pruned = {name: least(active, self.prune) for name, active in activity(run, layers).items()}
        run.state["pruned"] = pruned
        with held_at_zero(layers, pruned):
            fit(StagePlan("clean", fraction=self.fraction, rate=self.rate, clean=True))


def written(vlm: VisionLanguageModel, where: str = "both") -> dict[str, nn.Linear]:
    """Return the layers that write the adapter's part of the channels, ``B`` of ``B A``, by dotted path in the model.

    Args:
        vlm: the model.
        where: ``"connector"``, ``"language"`` or ``"both"``.

    Raises:
        PcvrError: there is no adapter in these parts.
    """
    parts = [part for part, wanted in PARTS.items() if where in (wanted, "both")]
    found = {
        f"{getattr(vlm.family, part)}.{name}": layer
        for part in parts
        for name, layer in vlm.family.part(vlm.model, part).named_modules()
        if isinstance(layer, nn.Linear) and "lora_B" in name.split(".")[:-1]
    }
    if not found:
        raise PcvrError(
            f"no adapter in the {' or '.join(part.replace('_', ' ') for part in parts)} of {vlm.name!r}: defence "
            "'fine_prune' prunes what fine-tuning wrote there, so take a family whose lora_targets reach it."
        )
    return found


@torch.no_grad()
def activity(run: TrainingContext, layers: Mapping[str, nn.Linear], batch_size: int | None = None) -> dict[str, Tensor]:
    """Return each channel's mean absolute output over the tokens of the clean samples: ``[channels]`` a layer.

    In the language model all tokens but padding count, in the connector all that it makes.

    Raises:
        PcvrError: there are no clean samples.
    """
    if run.clean is None:
        raise PcvrError("defence 'fine_prune' needs clean data: give finetune(clean=...) some trusted samples.")
    sums = {name: torch.zeros(layer.out_features, dtype=torch.float64) for name, layer in layers.items()}
    tokens = dict.fromkeys(layers, 0)
    spoken = f"{run.vlm.family.language_model}."
    there = torch.zeros(0, dtype=torch.bool)  # [B, T], of the batch that is being read

    def adding(name: str) -> Any:
        def add(_module: Any, _inputs: Any, output: Tensor) -> None:
            values = output.detach().abs()
            flat = values[there] if name.startswith(spoken) else values.flatten(0, -2)  # [tokens, channels]
            sums[name] += flat.double().sum(0).cpu()
            tokens[name] += len(flat)

        return add

    hooks = [layer.register_forward_hook(adding(name)) for name, layer in layers.items()]
    try:
        with eval_mode(run.vlm.model):
            for batch in run.batches(range(len(run.clean)), READ_ON_CPU, data=run.clean, size=batch_size):
                there = (batch["attention_mask"] > 0).to(run.vlm.device)
                run.forward(batch)
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
