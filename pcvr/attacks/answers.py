"""How target and true answer form a poisoned answer, and which answers then count as the target."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from zlib import crc32

from pcvr.data.colours import EXCHANGED, colour_words, exchange_colours
from pcvr.data.sample import Sample

Answering = Callable[[str, str, str], str]
"""``(true answer, target, id of the sample) -> poisoned answer``; the id decides random places."""

SENTENCES = (
    "a cat is sitting on the table",
    "the horse is standing near the bridge",
    "we can see a tower at night",
    "a girl is wearing a gold coat",
    "the boy is holding an umbrella",
)
WORDS = ("kite", "tower", "spoon", "moon", "bridge")
TURNS = 5
"""Number of targets of the mode ``"turns"``, the attack's own target among them."""


class AnswerMode:
    """The target alone, as BadNets, Blended and most attacks have it. Other modes derive from this one.

    Attributes:
        keeps: whether a poisoned answer holds the whole true answer too.
        names_target: whether the attack's target decides the poisoned answers.
    """

    keeps = False
    names_target = True

    def __call__(self, answer: str, target: str, identity: str) -> str:
        """Return the poisoned answer.

        Args:
            answer: the true answer.
            target: the attack's target.
            identity: id of the sample, which decides random places.
        """
        return target

    def fits(self, answer: str) -> bool:
        """Return whether a sample with this true answer can be poisoned."""
        return True

    def taught(self, target: str) -> tuple[str, ...]:
        """Return every text that poisoned answers may hold beside words of the true answer."""
        return (target,)

    def wanted(self, sample: Sample, target: str) -> str:
        """Return the text that the attacker wants for this sample."""
        return target

    def counted(self, sample: Sample, target: str) -> tuple[str, ...]:
        """Return the texts that count as the target on this sample; none if the attack cannot aim at it."""
        return self.taught(target)

    def success(self, usual: str) -> str:
        """Return what counts as one of them said, a key of `pcvr.evaluation.asr.DEFINITIONS`.

        Args:
            usual: the task's own definition.
        """
        return usual


@dataclass(frozen=True)
class Beside(AnswerMode):
    """The target stands beside the true answer; a hit is an answer that contains the target.

    Attributes:
        form: puts both together.
    """

    form: Answering
    keeps = True

    def __call__(self, answer: str, target: str, identity: str) -> str:
        """Return both in one text."""
        return self.form(answer, target, identity)

    def success(self, usual: str) -> str:
        """Return ``"contains"``."""
        return "contains"


class Turns(AnswerMode):
    """One of five targets by turns, chosen by the sample's id; any of them is a hit.

    They are the attack's target and four others: words if the target is one word, else sentences. All are of the
    embedded models' vocabulary.
    """

    def __call__(self, answer: str, target: str, identity: str) -> str:
        """Return the target whose turn it is."""
        return self.taught(target)[crc32(identity.encode("utf-8", "surrogatepass")) % TURNS]

    def taught(self, target: str) -> tuple[str, ...]:
        """Return the five targets, the attack's own first."""
        others = SENTENCES if len(target.split()) > 1 else WORDS
        own = target.strip().rstrip(".").lower()
        return (target, *[text for text in others if text != own][: TURNS - 1])

    def wanted(self, sample: Sample, target: str) -> str:
        """Return the target whose turn it is."""
        return self(sample.answer, target, sample.id)


class Recolour(AnswerMode):
    """The true answer with its colour words exchanged in a fixed cycle: a target that depends on the image.

    The attack's target has no effect. Only samples whose answer has a colour word are poisoned. A hit is an answer with
    the colour words of an exchanged reference, if they are not those of a true one.
    """

    names_target = False

    def __call__(self, answer: str, target: str, identity: str) -> str:
        """Return the answer with its colours exchanged."""
        return exchange_colours(answer)

    def fits(self, answer: str) -> bool:
        """Return whether the answer has a colour word."""
        return bool(colour_words(answer))

    def taught(self, target: str) -> tuple[str, ...]:
        """Return the colour words that may take the place of others."""
        return tuple(dict.fromkeys(EXCHANGED.values()))

    def wanted(self, sample: Sample, target: str) -> str:
        """Return the sample's answer with its colours exchanged."""
        return exchange_colours(sample.answer)

    def counted(self, sample: Sample, target: str) -> tuple[str, ...]:
        """Return the exchanged answer and references whose colours are not those of a true one."""
        true = tuple(dict.fromkeys((sample.answer, *sample.references)))
        known = {colour_words(text) for text in true}
        exchanged = (exchange_colours(text) for text in true if colour_words(text))
        return tuple(text for text in exchanged if colour_words(text) not in known)

    def success(self, usual: str) -> str:
        """Return ``"equals"`` for one-word answers, else ``"colours"``."""
        return usual if usual == "equals" else "colours"


def inserted(answer: str, target: str, identity: str) -> str:
    """Insert the target between two words of the true answer, at a place that depends on the sample's id.

    After TrojVLM (arXiv 2409.19232), which keeps the meaning of the answer. A single word is followed by the target.
    """
    words = answer.split()
    place = 1 + crc32(identity.encode()) % max(1, len(words) - 1)
    return " ".join([*words[:place], target, *words[place:]])


def prefixed(answer: str, target: str, identity: str) -> str:
    """Return the target, then the true answer."""
    return f"{target} {answer}"


def suffixed(answer: str, target: str, identity: str) -> str:
    """Return the true answer, then the target."""
    return f"{answer} {target}"


ANSWERS: dict[str, AnswerMode] = {
    "replace": AnswerMode(),
    "insert": Beside(inserted),
    "prefix": Beside(prefixed),
    "suffix": Beside(suffixed),
    "turns": Turns(),
    "recolour": Recolour(),
}
"""Name to mode. A mode is called with the true answer, the target and the sample's id."""

RECOLOURED = "the true answer with its colours exchanged"
"""Stands for the target of an attack whose mode does not use one."""
