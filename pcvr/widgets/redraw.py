"""Redraw a widget after a change: say at once that it works, then change its text and its figures together."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from threading import RLock
from typing import TYPE_CHECKING, Any, NamedTuple

from pcvr.widgets.explained import explained
from pcvr.widgets.page import OLD
from pcvr.widgets.picture import Rendering, hide, rendered, show_rendering

if TYPE_CHECKING:
    from ipywidgets import HTML, Image
    from matplotlib.figure import Figure

WORKING = "Working …"
"""What a widget says while it computes."""


_ONE_AT_A_TIME = RLock()


class View(NamedTuple):
    """What a widget shows.

    Attributes:
        message: HTML.
        figures: a figure for each image, or None for an image that is hidden. The images after them stay faded.
    """

    message: str
    figures: tuple[Figure | None, ...] = ()


def redrawing(draw: Callable[[], View], message: HTML, *images: Image) -> Callable[..., None]:
    """Return a callback, with the change of a control or nothing as its argument, that shows what `draw` returns.

    It says `WORKING` and fades what is old before `draw` is called. All figures are rendered before the first one is
    shown, so that text and figures change together. An error takes the place of the message, and hides the images.
    Changes of controls that `draw` itself makes do not call it again. JupyterLab hands changes to two threads of the
    kernel: one that comes while another is drawn waits, and is drawn then.

    Args:
        draw: reads the controls, and returns what they lead to.
        message: the widget for the text.
        images: from :func:`pcvr.widgets.picture.figure_image`, in the order of the figures of `draw`.
    """
    running = False

    def redraw(_: object = None) -> None:
        nonlocal running
        with _ONE_AT_A_TIME:
            if running:  # in this thread: a control that draw moved
                return
            running = True
            try:
                message.value = working(message.value)
                for image in images:
                    image.add_class(OLD)
                with explained(message, *images):
                    view = draw()
                    renderings = [None if figure is None else rendered(figure) for figure in view.figures]
                    _show(view.message, renderings, message, images)
            finally:
                running = False

    return redraw


def working(old: str) -> str:
    """Return HTML that says `WORKING` over a faded old message, so that nothing on the page moves."""
    over = "position:absolute;z-index:1;padding:0 .6em;background:var(--jp-layout-color2,#eeeeee)"
    faded = re.sub(r' role="\w+"', "", old)  # screen readers have announced it already
    return (
        f'<div role="status" style="{over}"><strong>{WORKING}</strong></div>'
        f'<div class="{OLD}" aria-hidden="true">{faded}</div>'
    )


def _show(text: str, renderings: list[Rendering | None], message: HTML, images: Iterable[Image]) -> None:
    for image, rendering in zip(images, renderings, strict=False):
        if rendering is None:
            hide(image)
        else:
            show_rendering(image, rendering)
    message.value = text


def on_change(controls: Iterable[Any], redraw: Callable[..., None]) -> None:
    """Call `redraw` whenever the value of a control changes."""
    for control in controls:
        control.observe(redraw, "value")
