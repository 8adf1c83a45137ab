"""What a defence is: it may choose the loss and look at the data; it changes nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Protocol

from torch import Tensor

if TYPE_CHECKING:
    from pcvr.models.encode import Batch
    from pcvr.run import Run


class Defense(Protocol):
    """A way to fine-tune on data that may be poisoned. Instances are frozen configs; state lives in the `Run`."""

    name: ClassVar[str]

    def begin(self, run: Run) -> None:
        """Called once before the first step."""
        ...

    def loss(self, run: Run, batch: Batch) -> Tensor:
        """The loss of one batch, a scalar with gradient."""
        ...
