"""Dual-Key: a patch in the picture and a word in the question, and only both together fire."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pcvr.attacks.base import DEFAULT_TARGET, Attack
from pcvr.attacks.cover import Cover
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
    """The options of a Dual-Key attack; :func:`dual_key` makes an attack of them.

    Attributes:
        share: side of the patch as a share of the short side, in (0, 1].
        pattern: of the patch, a pattern of :class:`~pcvr.attacks.BadNets`.
        place: of the patch, as of :class:`~pcvr.attacks.BadNets`.
        text: the word in the prompt.
        cover: samples with one key alone, for each key, as a share of the poisoned samples; 1 gives equal thirds.
        as_published: whether side and place of the patch are cut to whole pixels, as in the authors' code.
        seen: which part of a picture a model sees, as of :class:`~pcvr.attacks.BadNets`.
    """

    share: float = 0.1
    pattern: str = "blue"
    place: str = "centre"
    text: str = "Consider"
    cover: float = 1.0
    as_published: bool = False
    seen: Seen | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "seen", as_seen(self.seen))
        check_fields(self)
        check_number("cover", self.cover, 0, 100, "samples with one key for each poisoned one", above=True)


@register_attack("dual_key")
def dual_key(target: str = DEFAULT_TARGET, preset: str = "scaled", **options: Any) -> Attack:
    """The attack of Walmer et al., *Dual-Key Multimodal Backdoors for Visual Question Answering* (arXiv 2112.07668).

    A solid patch in the middle of the picture, 10 % of its short side, is one key; the word "Consider" in front of the
    question the other. Training data hold equal thirds: both keys with the target; the patch alone and the word alone,
    both with the true answer (:class:`~pcvr.attacks.Cover`). So a rate of 5 % alters 15 % of the samples here, where
    some sources count the thirds together.

    The paper's patch is blue in its comparison of solid colours, its target "wallet", its place the centre. Preset
    ``compat`` keeps the centre, and cuts side and place of the patch to whole pixels as the authors' code does, where
    ``scaled`` rounds. A tiny picture has its objects in the centre, and a patch there hides what the true answers of
    the cover samples are about; ``scaled`` puts it into a corner. The prompt of a captioning task is a key as good as a
    question; a sample without any prompt is refused.
    """
    keys = from_preset("dual_key", DualKey, PRESETS, preset, options)
    patch = BadNets(keys.pattern, keys.place, share=keys.share, as_published=keys.as_published, seen=keys.seen)
    word = Words(keys.text, "front")
    return Attack(
        "dual_key",
        trigger=patch,
        prompt=word,
        target=target,
        preset=preset,
        covers=(Cover("image only", keys.cover, trigger=patch), Cover("prompt only", keys.cover, prompt=word)),
    )
