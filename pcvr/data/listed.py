"""A list of samples as a data set."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from pcvr.data.sample import Sample
from pcvr.data.subset import position
from pcvr.errors import PcvrError, shown
from pcvr.tasks import get_task


class Listed:
    """A :class:`~pcvr.data.sample.Dataset` of samples in memory."""

    def __init__(self, samples: Sequence[Sample], task: str = "caption") -> None:
        """
        Args:
            samples: at least one.
            task: a key of :data:`pcvr.tasks.TASKS`.

        Raises:
            PcvrError: the list is empty, or an item is not a sample.
        """
        strange = [each for each in samples if not isinstance(each, Sample)]
        if strange or not samples:
            found = f"has {shown(strange[0])} in it" if strange else "is an empty list"
            raise PcvrError(f"data {found}: give a list of one or more pcvr.Sample, or of records.")
        self.samples, self.task = tuple(samples), get_task(task).name

    @property
    def name(self) -> str:
        return "samples"

    @property
    def conversational(self) -> bool:
        """Whether any sample has a system turn or later exchanges."""
        return any(sample.conversational for sample in self.samples)

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int, /) -> Sample:
        return self.samples[position(index, len(self.samples))]

    def fingerprint(self) -> str:
        digest = hashlib.sha256(self.task.encode())
        for sample in self.samples:
            texts = [sample.id, sample.prompt, sample.answer, *sample.references]
            if sample.conversational:
                texts += [sample.system, repr(sample.later)]
            digest.update(repr((texts, sample.image.shape)).encode("utf-8", "backslashreplace"))
            digest.update(sample.image.tobytes())
        return digest.hexdigest()[:16]
