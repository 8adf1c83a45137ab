"""The explorer of attention: choose an image, a word, a layer and a head, and see the attention."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any

from pcvr.analysis.attention import HOWS, Attention
from pcvr.errors import PcvrError
from pcvr.plots.attention import one_word
from pcvr.widgets.page import on_page, wrapped_row
from pcvr.widgets.picture import figure_image
from pcvr.widgets.redraw import View, on_change, redrawing

if TYPE_CHECKING:
    from ipywidgets import HTML, Dropdown, Image, IntSlider, VBox
    from matplotlib.figure import Figure


_ALL = -1
"""Value of the option for all layers or heads. With None as its value, a list shows nothing once it is chosen again."""


@dataclass(frozen=True)
class AttentionChoice:
    """One setting of the explorer.

    Attributes:
        picture: index of the image, from 0.
        token: position in its answer, from 0; beyond the end, the last one.
        layer: from 0, or None for all.
        head: from 0, or None for all.
        how: one of `pcvr.analysis.attention.HOWS`; rollout ignores layer and head.
    """

    picture: int = 0
    token: int = 0
    layer: int | None = None
    head: int | None = None
    how: str = "mean"


def attention_view(seen: Sequence[Attention], choice: AttentionChoice) -> Figure:
    """Draw the figure for a choice.

    Raises:
        PcvrError: there is no such image, layer or head.
    """
    if not 0 <= choice.picture < len(seen):
        raise PcvrError(f"image {choice.picture} does not exist: give 0 to {len(seen) - 1}.")
    one = seen[choice.picture]
    token = min(choice.token, len(one.steps.tokens) - 1)
    if choice.how == "rollout":
        return one_word(one, token, how="rollout")
    return one_word(one, token, choice.layer, choice.head, choice.how)


@dataclass(frozen=True)
class AttentionControls:
    """The explorer's widgets by name."""

    picture: IntSlider
    token: IntSlider
    layer: Dropdown
    head: Dropdown
    how: Dropdown
    image: Image
    message: HTML

    def choice(self) -> AttentionChoice:
        """Return the choice that is set."""
        layer, head = (None if one.value == _ALL else int(one.value) for one in (self.layer, self.head))
        return AttentionChoice(self.picture.value - 1, self.token.value - 1, layer, head, self.how.value)


def attention_explorer(seen: Sequence[Attention]) -> tuple[VBox, AttentionControls]:
    """Build the explorer.

    Args:
        seen: from `pcvr.analysis.attention.attend`, one for each image, all of one model.

    Returns:
        The box to display, and its controls.

    Raises:
        PcvrError: there is nothing to explore.
    """
    import ipywidgets as w

    if not seen:
        raise PcvrError("there is nothing to explore: give the results of attend() for at least one image.")
    layers, heads = seen[0].rows.shape[:2]
    flat: dict[str, Any] = {"style": {"description_width": "6em"}, "layout": w.Layout(width="22em")}
    slow: dict[str, Any] = {**flat, "continuous_update": False}
    controls = AttentionControls(
        picture=w.IntSlider(1, 1, max(2, len(seen)), description="Image", disabled=len(seen) == 1, **slow),
        token=w.IntSlider(1, 1, len(seen[0].steps.tokens), description="Word", **slow),
        layer=w.Dropdown(options=_numbered("all layers", "layer", layers), description="Layer", **flat),
        head=w.Dropdown(options=_numbered("mean over heads", "head", heads), description="Head", **flat),
        how=w.Dropdown(options=HOWS, description="How", **flat),
        image=figure_image(attention_view(seen, AttentionChoice())),
        message=w.HTML(_status(seen[0])),
    )
    controls.picture.max = max(1, len(seen))

    def draw() -> View:
        one = seen[controls.picture.value - 1]
        controls.token.max = len(one.steps.tokens)
        controls.layer.disabled = controls.head.disabled = controls.how.value == "rollout"
        return View(_status(one), (attention_view(seen, controls.choice()),))

    moved = (controls.picture, controls.token, controls.layer, controls.head, controls.how)
    on_change(moved, redrawing(draw, controls.message, controls.image))
    return on_page(wrapped_row(*moved), controls.message, controls.image), controls


def _numbered(whole: str, name: str, count: int) -> list[tuple[str, int]]:
    return [(whole, _ALL), *((f"{name} {i + 1}", i) for i in range(count))]


def _status(one: Attention) -> str:
    return (
        f'<div role="status">Asked: “{escape(one.steps.prompt)}”. Answered: “{escape(one.steps.text) or "(nothing)"}”, '
        f"{len(one.steps.tokens)} tokens.</div>"
    )
