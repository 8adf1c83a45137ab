"""What an audit cannot see: by its construction, and by the shipped measurements."""

from __future__ import annotations

from pcvr.auditing.evidence import COMMON
from pcvr.defenses.pcvr.pools import FEWEST

TOGETHER = (
    "The answers of a conversation are scored together, so one poisoned answer among several is harder to find; "
    'open_data(..., turns="apart") makes a sample of each answer.'
)
"""About conversations with several answers."""
LIMITS = (
    f"Fewer than {FEWEST} poisoned samples, or so few among many that chance explains them.",
    "A trigger that the frozen vision tower does not see: a classifier on what it sees finds nothing then.",
    "Labels that the base model expects anyway, such as a target that is true of many of these images, or one that the "
    "trigger itself makes likely: then the picture seems to speak for the label.",
    f"An answer that more than {100 * COMMON:g} % of all samples have: it is taken for a class of the data.",
    "A mark that honest labels go with, such as blurred pictures that are all labelled as unanswerable: the audit "
    "cannot know who put it there, so look at the pictures.",
    "A base model that cannot answer the task at all: then no label is expected, and the scores mean little.",
    TOGETHER,
)


def measured_failures(weak: float = 0.5) -> list[str]:
    """Return a sentence for each measured case in which less than a fraction `weak` of the poison was found."""
    from pcvr.errors import PcvrError
    from pcvr.experiments.results import load

    try:
        table = load("audit")
    except PcvrError:  # not made yet
        return []
    found = []
    for run in table.runs:
        said = run["experiment"]
        if run["poisoned"] and run["recall"] < weak:
            found.append(
                f"Measured: {said['attack']} at {100 * said['rate']:g} % of the samples, task {said['task']}, model "
                f"{said['model']}: {100 * run['recall']:.0f} % of the poison was flagged."
            )
    return found
