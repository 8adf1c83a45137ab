"""What a defender must have for each defence of the study: the training, weights, trusted samples, or queries alone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from pcvr.utils.checks import check_choice

HAVE: Mapping[str, str] = MappingProxyType(
    {
        "training": "you run the training, on data that may be poisoned",
        "weights": "you have the weights of the fine-tuned model",
        "base": "you have the weights from before fine-tuning",
        "clean": "you have some samples that you trust",
    }
)
"""What a defender may have, in words. Everybody can ask the model; who runs the training has both kinds of weights."""

NOT_BUILT = ("PurMM", "SRD", "PSR", "ANP", "CLP")
"""Defences whose papers we could not read in full; they are named, and not built from guesses."""


@dataclass(frozen=True)
class Access:
    """What one defence needs, and what it does.

    Attributes:
        when: ``"while training"``, ``"in stages"``, ``"trains twice"``, ``"after training"`` or ``"in use"``.
        needs: keys of `HAVE`.
        idea: what it does, one sentence.
    """

    when: str
    needs: frozenset[str]
    idea: str


def _needs(when: str, needs: str, idea: str) -> Access:
    return Access(when, frozenset(needs.split()), idea)


ACCESS: Mapping[str, Access] = MappingProxyType(
    {
        "none": _needs("while training", "training", "Plain fine-tuning: no defence."),
        "pcvr": _needs(
            "while training",
            "training",
            "Flags samples whose labels are unexpected or do not depend on the image, and does not learn them.",
        ),
        "pcvr_paper": _needs(
            "while training", "training", "Pulls the outputs on image and patch view apart for every sample."
        ),
        "augment": _needs("while training", "training", "Trains on patch views of the images."),
        "early_stop": _needs("while training", "training", "Stops before the backdoor has formed."),
        "byorn": _needs(
            "while training",
            "training",
            "Replaces labels that the base model finds unlikely by answers of the model itself.",
        ),
        "byorn_f": _needs(
            "while training", "training", "Leaves out samples whose labels the base model finds unlikely."
        ),
        "tcap": _needs(
            "trains twice", "training", "Filters samples by the attention to system, image and text, and trains again."
        ),
        "bye": _needs("trains twice", "training", "Filters samples whose attention collapses, and trains again."),
        "abl": _needs("in stages", "training", "Isolates the samples that are learned fastest, and unlearns them."),
        "crow, while training": _needs(
            "while training", "training", "Keeps the layers of the language model consistent on all samples."
        ),
        "robustit": _needs("while training", "training", "Varies the inputs and thins out activations."),
        "crow": _needs("after training", "weights clean", "Makes the layers of the language model consistent."),
        "clean_tune": _needs("after training", "weights clean", "Goes on training on trusted samples."),
        "fine_prune": _needs(
            "after training", "weights clean", "Prunes channels that trusted samples do not use, and trains on them."
        ),
        "racer": _needs(
            "after training", "weights clean", "Makes layers consistent by regions, under the worst small change."
        ),
        "ortho_purify": _needs(
            "after training", "weights clean base", "Projects out directions that benign training does not take."
        ),
        "strip": _needs("in use", "clean", "Refuses answers that survive other images laid over the image."),
        "cleansight": _needs("in use", "weights clean", "Masks image tokens that draw too much attention."),
    }
)
"""Row of the study, without ", tuned", to what it needs."""


@dataclass(frozen=True)
class Step:
    """One question on the way to a defence.

    Attributes:
        question: for the defender.
        leaves: the answer that ends the questions, ``"yes"`` or ``"no"``; empty for the last step, which asks nothing.
        needs: what the defences that one arrives at need; None if there are none.
    """

    question: str
    leaves: str
    needs: frozenset[str] | None


STEPS = (
    Step("Do you run the training?", "yes", frozenset({"training"})),
    Step("Do you have samples that you trust?", "no", None),
    Step("Do you have the weights of the model?", "no", frozenset({"clean"})),
    Step("And the weights from before fine-tuning?", "no", frozenset({"weights", "clean"})),
    Step("", "", frozenset({"weights", "clean", "base"})),
)
"""The questions in their order; with the answer that does not leave, go on to the next one."""


def access_of(row: str) -> Access:
    """Return what a row of the study needs.

    Raises:
        PcvrError: the study has no such row.
    """
    name = row.removesuffix(", tuned")
    check_choice("row", name, list(ACCESS))
    return ACCESS[name]


def with_implied(have: Iterable[str]) -> frozenset[str]:
    """Return what a defender has in all: who runs the training has the weights before and after it too.

    Raises:
        PcvrError: an unknown key.
    """
    found = set(have)
    for each in found:
        check_choice("have", each, list(HAVE))
    return frozenset(found | {"weights", "base"} if "training" in found else found)


def usable(row: str, have: Iterable[str]) -> bool:
    """Return whether a defender who has `have` (keys of `HAVE`) can use a row of the study.

    Raises:
        PcvrError: an unknown row or key.
    """
    return access_of(row).needs <= with_implied(have)


def by_needs() -> dict[frozenset[str], list[str]]:
    """Return each set of needs with the rows that need exactly it, no defence left out."""
    found: dict[frozenset[str], list[str]] = {}
    for row, access in ACCESS.items():
        if row != "none":
            found.setdefault(access.needs, []).append(row)
    return found
