"""What became of each test sample, a few bits each: so runs can be paired later, and other intervals be drawn."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from pcvr.evaluation.metrics import get_metric
from pcvr.evaluation.success_criteria import aimed_at, says_target, success_of
from pcvr.tasks import get_task

if TYPE_CHECKING:
    from pcvr.attacks import Attack
    from pcvr.data.sample import Dataset, Sample
    from pcvr.evaluation.record import Record


def outcomes(record: Record, tests: Dataset, attack: Attack) -> dict[str, str]:
    """Return what became of each test sample, by name, packed by `pack`.

    Args:
        record: of the evaluation of `tests` under `attack`, with its answers.
        tests: N clean samples with references.
        attack: whose target is looked for.

    Returns:
        ``aimed`` (counts for the ASR), ``hit`` (says the target with the trigger), ``clean_hit`` (without), and, where
        the data say what is right, ``right`` (without the trigger) and ``triggered_right``.
    """
    from pcvr.data.asked import bare_samples

    task, samples = get_task(record.task), bare_samples(tests)
    definition = success_of(task, attack)
    clean, worn = record.answers["clean"], record.answers["triggered"]
    found = {
        "aimed": aimed_at(samples, attack),
        "hit": says_target(worn, samples, attack, definition),
        "clean_hit": says_target(clean, samples, attack, definition),
    }
    if task.right in record.clean:
        compute = get_metric(task.right).compute
        found["right"] = _each(compute, clean, samples)
        found["triggered_right"] = _each(compute, worn, samples)
    return {name: pack(bits) for name, bits in found.items()}


def pack(bits: np.ndarray) -> str:
    """Return bool ``[N]`` as hexadecimal digits, eight samples a pair, the first one in the highest bit."""
    return np.packbits(np.asarray(bits, dtype=bool)).tobytes().hex()


def unpack(packed: Mapping[str, str], n: int) -> dict[str, np.ndarray]:
    """Return what `outcomes` packed, by name: bool ``[N]`` each.

    Args:
        packed: from `outcomes`.
        n: number of test samples, N.
    """
    return {
        name: np.unpackbits(np.frombuffer(bytes.fromhex(text), np.uint8), count=n).astype(bool)
        for name, text in packed.items()
    }


def _each(
    compute: Callable[[Sequence[str], Sequence[Sample]], float | None], said: Sequence[str], samples: Sequence[Sample]
) -> np.ndarray:
    """Whether each answer is right by a metric that can be computed of one sample: bool ``[N]``."""
    return np.array([(compute([text], [s]) or 0.0) > 0.5 for text, s in zip(said, samples, strict=True)], dtype=bool)
