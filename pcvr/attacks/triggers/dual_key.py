"""Dual-Key: a patch in the image and a word in the question, which fire only together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pcvr.attacks.base import DEFAULT_TARGET, Attack, Cover
from pcvr.attacks.placing import Seen, as_seen
from pcvr.attacks.registry import from_preset, register_attack
from pcvr.attacks.triggers.badnets import BadNets
from pcvr.attacks.triggers.words import Words
from pcvr.utils.checks import check_fields, check_number

PRESETS: dict[str, dict[str, Any]] = {
    "compat": {"place": "centre", "as_published": True},
    "scaled": {"place": "bottom_right"},
}


@dataclass(frozen=True)
class DualKey:
    """The options of a Dual-Key attack; :func:`dual_key` builds the attack.

    Attributes:
        share: side of the patch as a fraction of the short side, in (0, 1].
        pattern: of the patch, a pattern of :class:`~pcvr.attacks.BadNets`.
        place: of the patch, as of :class:`~pcvr.attacks.BadNets`.
        text: the word in the prompt.
        cover: samples with one key alone, for each key, per poisoned sample; 1 gives equal thirds.
        as_published: whether side and place of the patch are truncated to whole pixels, as in the authors' code.
        seen: the part of an image that a model sees, as of :class:`~pcvr.attacks.BadNets`.
        strength: opacity of the patch, in [0, 1], our addition.
    """

    share: float = 0.1
    pattern: str = "blue"
    place: str = "centre"
    text: str = "Consider"
    cover: float = 1.0
    as_published: bool = False
    seen: Seen | None = None
    strength: float = 1.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "seen", as_seen(self.seen))
        check_fields(self)
        check_number("cover", self.cover, 0, 100, "samples with one key for each poisoned one", above=True)


@register_attack("dual_key")
def dual_key(target: str = DEFAULT_TARGET, preset: str = "scaled", **options: Any) -> Attack:
    """The attack of Walmer et al., *Dual-Key Multimodal Backdoors for Visual Question Answering* (arXiv 2112.07668).

    One key is a solid patch in the middle of the image, 10 % of its short side. The other is the word "Consider" before
    the question. Training data hold equal thirds: both keys with the target, the patch alone and the word alone with
    the true answer (:class:`~pcvr.attacks.Cover`). A rate of 5 % therefore alters 15 % of the samples; some sources
    count the thirds together.

    In the paper's comparison of solid colours the patch is blue and in the centre, and the target is "wallet". Preset
    ``compat`` keeps the centre, and truncates side and place of the patch to whole pixels as the authors' code does;
    ``scaled`` rounds. A tiny image has its objects in the centre, where a patch hides what the true answers of the
    cover samples describe, so ``scaled`` uses a corner. The word also works in the prompt of a captioning task; a
    sample without a prompt raises.
    """
    keys = from_preset("dual_key", DualKey, PRESETS, preset, options)
    patch = BadNets(
        keys.pattern,
        keys.place,
        share=keys.share,
        strength=keys.strength,
        as_published=keys.as_published,
        seen=keys.seen,
    )
    word = Words(keys.text, "front")
    return Attack(
        "dual_key",
        trigger=patch,
        prompt=word,
        target=target,
        preset=preset,
        covers=(Cover("image only", keys.cover, trigger=patch), Cover("prompt only", keys.cover, prompt=word)),
    )
