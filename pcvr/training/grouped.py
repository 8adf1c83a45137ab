"""The order of an epoch in which every optimiser step has samples of one group only."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch

from pcvr.errors import PcvrError


class GroupedOrder(torch.utils.data.Sampler[int]):
    """Yields the positions of samples so that each stretch of `step_size` is of one group, spread evenly (ours).

    With G groups of ``n_g`` samples, group g has ``k_g = ceil(n_g / step_size)`` steps in an epoch. Its last step is
    filled up with samples of the same group, so all steps have the same size and no gradient accumulation or process
    mixes groups. Step i of group g comes at the place ``(i + 1/2) / k_g`` of the epoch.

    The order depends on `seed` and the number of the epoch alone, so a training that resumes has the same one.

    Args:
        groups: group of each sample, ``[N]``, N at least 1.
        step_size: samples of one optimiser step, all processes and micro-batches together.
        seed: of the shuffling within each group.
        epoch: returns the number of the epoch that begins, from 0.
    """

    def __init__(self, groups: Sequence[int], step_size: int, seed: int, epoch: Callable[[], int]) -> None:
        of_groups = torch.as_tensor(groups)
        self.members = [(of_groups == group).nonzero()[:, 0] for group in of_groups.unique()]
        self.step_size, self.seed, self.epoch = step_size, seed, epoch

    @property
    def steps(self) -> int:
        """Optimiser steps in an epoch."""
        return sum(-(-len(members) // self.step_size) for members in self.members)

    def __len__(self) -> int:
        return self.steps * self.step_size

    def __iter__(self) -> Iterator[int]:
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + self.epoch())
        placed: list[tuple[float, int, list[int]]] = []
        for number, members in enumerate(self.members):
            order = members[torch.randperm(len(members), generator=generator)]
            count = -(-len(members) // self.step_size)
            # From the start of the same shuffled order: no sample comes twice in a step unless the group is smaller.
            filled = order.repeat(-(-count * self.step_size // len(members)))[: count * self.step_size]
            steps = filled.view(count, self.step_size).tolist()
            placed += [((k + 0.5) / count, number, step) for k, step in enumerate(steps)]
        for _, _, step in sorted(placed):
            yield from step


def check_groups(groups: Sequence[int], samples: int) -> None:
    """Raise unless there is a group for each of the samples of a stage.

    Raises:
        PcvrError: naming both numbers.
    """
    if len(groups) != samples:
        raise PcvrError(f"groups has {len(groups)} entries for a stage of {samples} samples: give one for each sample.")
