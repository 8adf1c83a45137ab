"""The price of a LoRA training step in three forms, measured on one model: plain, with PCVR, and with two forwards.

All three compute the logits of answer tokens alone, with the same adapter, optimiser and batches: they differ in the
loss and in nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from statistics import median
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from pcvr.defenses.pcvr.defense import PaperPCVR
from pcvr.defenses.pcvr.stream import EARLY
from pcvr.defenses.pcvr.streaming import gate_of
from pcvr.errors import PcvrError
from pcvr.experiments.accelerator.device import PeakMemory, name_of, peak_flops, timed
from pcvr.experiments.accelerator.shapes import FORMULA, POISONED_EVERY, Shapes, build, drawn, step_flops
from pcvr.experiments.gate_report import stream_quality
from pcvr.training.config import TrainConfig
from pcvr.training.finetune import checkpoint_layers, with_adapter
from pcvr.training.loop_context import LoopContext
from pcvr.training.regularizer import PCVRRegularizer

if TYPE_CHECKING:
    from pcvr.models.encode import Batch
    from pcvr.models.vlm import VisionLanguageModel

RANK = 16
"""Of the LoRA adapter, on q, k, v and o of the language model and on the connector."""
RATE = 1e-3
"""Learning rate: high, so that random weights soon learn which labels are usual."""
SAMPLES = 400
"""Different samples; the next step after the last one begins again with the first."""
WARM_UP = 2
"""Steps before the clock runs."""

LossOf = Callable[[Any, "Batch", Sequence[int]], Tensor]
"""Returns the loss from a model, a batch, and the rows that the batch has."""


@dataclass(frozen=True)
class Counts:
    """How many steps are timed.

    Attributes:
        steps: of the plain form, and of the one with two forwards.
        later: of PCVR, after the first `EARLY` samples, which are all timed too.
    """

    steps: int = 12
    later: int = 40


class TwoForwards:
    """The loss without a gate: every sample's view is run at every step and pulled apart from the original.

    The view is one of pixels, so the tower runs again. No gradient flows through it: one that did would cost more.

    Args:
        vlm: the model in training.
    """

    def __init__(self, vlm: VisionLanguageModel) -> None:
        self.rule, self.run = PaperPCVR(), LoopContext(vlm)

    def __call__(self, _: Any, batch: Batch, index: Sequence[int]) -> Tensor:
        """Return the loss of a batch; arguments as of `PCVRRegularizer`."""
        taken = self.run.take(batch, index)
        said = self.run.forward(taken)
        everything = torch.ones(said.samples, device=said.logits.device)
        return torch.stack(list(self.rule.terms(self.run, taken, said, everything).values())).sum()


class Steps:
    """Trains the model of a measurement step by step, and times each step.

    Args:
        vlm: the model with its adapter.
        shapes: its sizes.
    """

    def __init__(self, vlm: VisionLanguageModel, shapes: Shapes) -> None:
        self.vlm, self.shapes, self.device = vlm, shapes, vlm.device
        self.trained = [parameter for parameter in vlm.model.parameters() if parameter.requires_grad]
        self.untrained = [parameter.detach().clone() for parameter in self.trained]
        self.restart()

    def restart(self) -> None:
        """Return to the untrained adapter, the first sample and a fresh optimiser."""
        with torch.no_grad():
            for parameter, before in zip(self.trained, self.untrained, strict=True):
                parameter.copy_(before)
                parameter.grad = None
        self.optimizer = torch.optim.AdamW(self.trained, RATE, weight_decay=0.0)
        self.begun = 0

    def take(self, loss_of: LossOf, count: int) -> list[float]:
        """Train `count` steps and return the seconds of each; drawing the samples does not count."""
        return [self._one(loss_of) for _ in range(count)]

    def _one(self, loss_of: LossOf) -> float:
        size = self.shapes.batch
        rows = [row % SAMPLES for row in range(self.begun, self.begun + size)]
        self.begun += size
        batch = {name: value.to(self.device) for name, value in drawn(self.shapes, rows).items()}

        def step() -> None:
            with torch.autocast(self.device.type, torch.bfloat16):
                loss = loss_of(self.vlm.model, batch, rows)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(self.trained, 1.0)
            self.optimizer.step()
            self.optimizer.zero_grad()

        return timed(self.device, step)[1]


def measure_steps(shapes: Shapes, device: torch.device, counts: Counts | None = None) -> list[dict[str, Any]]:
    """Measure all forms of a step.

    Args:
        shapes: of the model and its batches.
        device: where.
        counts: how many steps are timed.

    Returns:
        A row for each form, plain values: ``row`` (its name), ``device``, ``shapes`` (all sizes), ``parameters``,
        ``seconds`` of each timed step, ``samples_per_second`` (over all of them), ``ratio`` of the time to the plain
        form, ``peak_mib``, ``flops_a_sample`` and ``formula``, the device's ``peak_flops``, and ``share_of_peak`` from
        0 to 1. PCVR has two rows, for the first `EARLY` samples and for later ones; the later one has ``gate`` too, see
        `stream_quality`.

    Raises:
        PcvrError: the memory is too small.
    """
    counts = counts or Counts()
    with _fitting(shapes, device):
        speed = peak_flops(device, shapes.product)
        config = TrainConfig(lora_r=RANK, lora_alpha=2 * RANK)
        vlm = with_adapter(build(shapes, device), config)
        if shapes.checkpointing:
            checkpoint_layers(vlm)
        vlm.model.train()
        always = {
            "device": name_of(device),
            "shapes": asdict(shapes),
            "parameters": sum(parameter.numel() for parameter in vlm.base.parameters()),
            "lora_r": RANK,
            "flops_a_sample": step_flops(vlm, shapes),
            "formula": FORMULA,
            "peak_flops": speed,
        }
        steps = Steps(vlm, shapes)
        found = [*_fixed(steps, counts), *_pcvr(steps, counts)]
    return [always | each for each in _compared(found, always, shapes.batch)]


def _fixed(steps: Steps, counts: Counts) -> Iterator[dict[str, Any]]:
    """Yield the rows of the forms whose steps are all alike."""
    forms: dict[str, LossOf] = {
        "plain": PCVRRegularizer("none", steps.vlm),
        "two forwards": TwoForwards(steps.vlm),
    }
    for name, loss_of in forms.items():
        steps.restart()
        steps.take(loss_of, WARM_UP)
        memory = PeakMemory(steps.device)
        yield {"row": f"step: {name}", "seconds": steps.take(loss_of, counts.steps), "peak_mib": memory.mib()}


def _pcvr(steps: Steps, counts: Counts) -> Iterator[dict[str, Any]]:
    """Yield the rows of PCVR: while each batch is shown a view, and then."""
    steps.restart()
    regularizer = PCVRRegularizer(None, steps.vlm)
    gate, memory, early = gate_of(regularizer.run), PeakMemory(steps.device), []
    while gate.seen < EARLY:
        early += steps.take(regularizer, 1)
    yield {"row": f"step: PCVR, first {EARLY} samples", "seconds": early[WARM_UP:], "peak_mib": memory.mib()}
    memory = PeakMemory(steps.device)
    later = steps.take(regularizer, counts.later)
    quality = stream_quality(gate, range(0, SAMPLES, POISONED_EVERY), SAMPLES)
    yield {"row": "step: PCVR, later", "seconds": later, "peak_mib": memory.mib(), "gate": quality}


def _compared(rows: list[dict[str, Any]], always: dict[str, Any], batch: int) -> Iterator[dict[str, Any]]:
    """Yield the rows with what follows from their seconds; the first one is plain."""
    means = [sum(row["seconds"]) / len(row["seconds"]) for row in rows]
    for row, mean in zip(rows, means, strict=True):
        speed = batch / mean
        yield row | {
            "samples_per_second": speed,
            "median_seconds": median(row["seconds"]),
            "ratio": mean / means[0],
            "share_of_peak": speed * always["flops_a_sample"] / always["peak_flops"],
        }


@contextmanager
def _fitting(shapes: Shapes, device: torch.device) -> Iterator[None]:
    """Turn an exhausted device into a sentence."""
    try:
        yield
    except torch.OutOfMemoryError as problem:
        raise PcvrError(
            f"a step of {shapes.batch} samples at the shapes of {shapes.name} does not fit the memory of "
            f"{name_of(device)}: give a smaller --batch-size (at least 2), or a device with more memory."
        ) from problem


def step_lines(rows: Sequence[dict[str, Any]]) -> list[str]:
    """Return a line for the terminal for each form, and how the FLOPs were counted."""
    lines = [
        f"{row['row']:36} {row['samples_per_second']:8.2f} samples/s  {row['ratio']:5.2f} x the time  "
        f"{100 * row['share_of_peak']:5.1f} % of the peak  {row['peak_mib']:8.0f} MiB" + _gate(row.get("gate"))
        for row in rows
    ]
    if rows:
        first = rows[0]
        lines.append(
            f"  {first['parameters'] / 1e6:.1f} million parameters, {first['flops_a_sample'] / 1e12:.3g} TFLOP a "
            f"sample ({first['formula']}), peak {first['peak_flops'] / 1e12:.3g} TFLOP/s in bfloat16"
        )
    return lines


def _gate(quality: dict[str, Any] | None) -> str:
    return "" if quality is None else f"  verdict: {quality['verdict']}, {quality['flagged']} flagged"
