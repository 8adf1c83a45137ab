"""Samples with a learned backdoor's answer, shown again until the model no longer gives it.

A gate that finds a backdoor late has little of the training left to unlearn it, and where poison is thin most batches
hold none of it. So the latest flagged samples whose label the model still gives are kept, and a batch that has too few
of them is followed by some. This is ours.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from torch import Tensor

if TYPE_CHECKING:
    from pcvr.defenses.context import TrainingContext
    from pcvr.models.encode import Batch

KEPT = 8
"""Most samples that are kept: on the CPU, whatever the size of the data."""


@dataclass
class Replay:
    """The samples that are kept.

    Attributes:
        samples: batches of one sample each, on the CPU; the next one to be shown is the first.
    """

    samples: list[Batch] = field(default_factory=list)

    def keep(self, run: TrainingContext, batch: Batch, rows: Tensor) -> None:
        """Keep some rows ``[R]`` of a batch in place of the oldest ones, and of themselves."""
        known = [int(sample["index"]) for sample in self.samples]
        for row in rows:
            part = {name: value.detach().cpu().clone() for name, value in run.part(batch, row[None]).items()}
            if int(part["index"]) not in known:
                self.samples.append(part)
        self.samples = self.samples[-KEPT:]

    def next(self, run: TrainingContext, count: int) -> list[Batch]:
        """Take out the next samples, at most `count`, on the model's device; `back` returns them."""
        taken, self.samples = self.samples[: max(0, count)], self.samples[max(0, count) :]
        return [{name: value.to(run.vlm.device) for name, value in sample.items()} for sample in taken]

    def back(self, sample: Batch) -> None:
        """Return a sample that the model still gets wrong: it is shown again after the others."""
        self.samples.append({name: value.cpu() for name, value in sample.items()})
