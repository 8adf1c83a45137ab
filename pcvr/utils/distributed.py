"""Distributed training (``torchrun``, ``accelerate launch``): splitting work over processes and gathering results.

With a single process every function is the identity, so that callers need no special case.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, distributed, nn

from pcvr.errors import PcvrError

_COUNTS = ("WORLD_SIZE", "PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "MV2_COMM_WORLD_SIZE")
"""Environment variables in which launchers (torchrun, MPI) give the number of processes."""
_SETTLE = 0.5
"""Seconds for threads of the backend to finish."""


def joined() -> bool:
    """Return whether this process belongs to a `torch.distributed` group."""
    return distributed.is_available() and distributed.is_initialized()


def join(device: torch.device) -> None:
    """Join the process group if a launcher started several processes; a second call does nothing.

    Args:
        device: the device of the training; CPU processes use gloo. On CUDA, call this before the model is loaded: it
            selects the GPU that ``"cuda"`` means in this process.

    Raises:
        PcvrError: ``accelerate launch`` was asked for several processes and started one.
    """
    started = max((int(os.environ[name]) for name in _COUNTS if os.environ.get(name, "").isdecimal()), default=0)
    # Without enough GPUs, accelerate sets the address of a process group but starts a single process.
    if not started and {"ACCELERATE_USE_CPU", "MASTER_PORT"} <= os.environ.keys():
        raise PcvrError(
            "accelerate launch was asked for several processes and started only this one, as it does on a CPU and for "
            "more processes than GPUs: use torchrun --nproc-per-node 2 -m pcvr ... (or your own script), or "
            "accelerate launch --num_processes 1."
        )
    if started > 1 and not joined():
        from accelerate import PartialState

        PartialState(cpu=device.type == "cpu")


def leave() -> None:
    """Leave the process group, at the end of a program."""
    if joined():
        # gloo's threads need the interpreter to drop the tensors of their last exchange. A wrapped model frees the
        # group later, while it holds the interpreter, and then waits for these threads: for ever, unless they are done.
        time.sleep(_SETTLE)
        distributed.destroy_process_group()


def wait() -> None:
    """Wait until all processes have reached this call."""
    if world() > 1:
        distributed.barrier()


def sharded() -> bool:
    """Return whether each process holds only a shard of the weights (FSDP)."""
    return os.environ.get("ACCELERATE_USE_FSDP", "").lower() == "true"


def whole_weights(model: nn.Module) -> dict[str, Tensor] | None:
    """Return the full trainable parameters of a sharded model by name, None if nothing is sharded.

    Every process has to call this.
    """
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
    if not any(hasattr(p, "full_tensor") for p in trained.values()):
        return None
    return {n: p.full_tensor().cpu() if hasattr(p, "full_tensor") else p for n, p in trained.items()}


def rank() -> int:
    """Return this process's rank, from 0; 0 with a single process."""
    return distributed.get_rank() if joined() else 0


def world() -> int:
    """Return the number of processes that train together."""
    return distributed.get_world_size() if joined() else 1


def own_rows(count: int) -> list[int]:
    """Return this process's part of ``range(count)``: every `world`-th index from `rank` on, ascending.

    All parts together cover ``range(count)``. No part is empty: with fewer indices than processes some repeat.
    """
    return list(range(rank(), count, world())) or [rank() % count]


def gather(values: Tensor) -> Tensor:
    """Concatenate the values ``[n, ...]`` of all processes in the order of their ranks: ``[n0 + n1 + ..., ...]``.

    Every process has to call this; n may differ between them, dtype and other dimensions may not. No gradient flows
    back. The result is on the device of `values`.
    """
    if world() == 1:
        return values
    home = values.device
    values = values.detach().to(_exchange_device()).contiguous()
    counts = [values.new_zeros(1, dtype=torch.long) for _ in range(world())]
    distributed.all_gather(counts, torch.tensor([len(values)], device=values.device))
    longest = max(int(n) for n in counts)
    padded = values.new_zeros((longest, *values.shape[1:]))
    padded[: len(values)] = values
    parts = [torch.empty_like(padded) for _ in range(world())]
    distributed.all_gather(parts, padded)
    return torch.cat([part[: int(n)] for part, n in zip(parts, counts, strict=True)]).to(home)


def gather_rows(rows: Sequence[int], values: Tensor) -> Tensor:
    """Gather the values that the processes computed for their `own_rows`.

    Args:
        rows: ``[n]``, indices of the rows; all processes together cover ``range(N)``, repeats allowed.
        values: ``[n, ...]``, one entry a row.

    Returns:
        ``[N, ...]`` in the order of the rows, the same in every process.

    Raises:
        PcvrError: lengths differ, or a row is missing.
    """
    if len(rows) != len(values):
        raise PcvrError(f"gather_rows got {len(rows)} rows and {len(values)} values: give one value a row.")
    places = gather(torch.tensor(list(rows), dtype=torch.long))
    brought = gather(values)
    count = int(places.max()) + 1 if len(places) else 0
    if len(places.unique()) != count:
        raise PcvrError(
            f"gather_rows got {len(places.unique())} of {count} rows: give each process its run.own_rows(count)."
        )
    whole = brought.new_empty((count, *brought.shape[1:]))
    whole[places.to(brought.device)] = brought
    return whole


def average_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Replace each gradient by its mean over the processes; a process without one counts as zero."""
    if world() == 1:
        return
    for parameter in parameters:
        if parameter.requires_grad:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
            distributed.all_reduce(parameter.grad)
            parameter.grad /= world()


def _exchange_device() -> torch.device:
    """Return the device whose tensors the backend exchanges: NCCL the GPU's, gloo the CPU's."""
    return torch.device("cuda" if distributed.get_backend() == "nccl" else "cpu")
