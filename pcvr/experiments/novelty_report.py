"""How well a model learned what is new, and whether the defence took it for poison."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from pcvr.experiments.gate_report import gate_report

if TYPE_CHECKING:
    from pcvr.data.sample import Dataset
    from pcvr.training import FinetuneResult

_LONGER = 12  # tokens that an answer in a new style or language may have on top


def novelty_report(novelty: str, tests: Dataset, rows: Sequence[int], result: FinetuneResult) -> dict[str, int]:
    """Ask a model what is new, and count the samples of it that the defence flagged.

    Args:
        novelty: key of `pcvr.experiments.novelties.NOVELTIES`.
        tests: clean test data; those samples are asked that can ask it.
        rows: the training samples that ask it.
        result: of the training.

    Returns:
        ``right`` of ``n`` test samples that ask it, and how many of the ``trained`` training samples that ask it were
        ``flagged`` by the latest scan, or when last seen.
    """
    from pcvr.evaluation.generate import answer_all
    from pcvr.experiments.novelties import only_novel, right_on
    from pcvr.tasks import get_task

    asked = only_novel(tests, novelty)
    said = answer_all(result.model, asked, get_task(tests.task).max_new_tokens + _LONGER)
    right = right_on(novelty, said, [asked[i] for i in range(len(asked))])
    scans = gate_report(result.run.state, rows, len(result.run.data))
    flagged = scans[-1]["flagged"] - scans[-1]["false alarms"] if scans else 0
    return {"right": int(right.sum()), "n": len(asked), "flagged": flagged, "trained": len(rows)}
