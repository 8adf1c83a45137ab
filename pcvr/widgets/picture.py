"""Show a matplotlib Figure inside a widget, lay controls out, and follow work in a thread."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from pcvr.plots.describe import description, png

if TYPE_CHECKING:
    from ipywidgets import Box, Image
    from matplotlib.figure import Figure


def figure_image(fig: Figure) -> Image:
    """Return a widget that shows ``fig`` at its own size, or narrower on a narrow page.

    Its tooltip is the figure's description: core ipywidgets have no ``alt``, and screen readers read an image's title
    instead.
    """
    from ipywidgets import Image, Layout
    from traitlets import Unicode

    image = Image(format="png", layout=Layout(max_width="100%"))
    # The page's code for tooltips reads the length of a description, which images lack. Without one, ipywidgets 8.1
    # shows a JavaScript error instead of an image that has a tooltip.
    image.add_traits(description=Unicode("").tag(sync=True))
    show_in(image, fig)
    return image


def show_in(image: Image, fig: Figure) -> None:
    """Replace the figure in ``image`` (from :func:`figure_image`) by ``fig``, with its text."""
    image.layout.display = None  # an error may have hidden it
    image.layout.width = f"{round(fig.get_figwidth() * fig.dpi)}px"
    image.tooltip = description(fig) or None
    image.value = png(fig)


def wrapped_row(*controls: Any) -> Box:
    """Lay controls out in a row that wraps on a narrow page."""
    import ipywidgets as widgets

    return widgets.Box(controls, layout=widgets.Layout(display="flex", flex_flow="row wrap"))


def on_change(controls: Iterable[Any], redraw: Callable[[object], None]) -> None:
    """Call `redraw` whenever the value of a control changes."""
    for control in controls:
        control.observe(redraw, "value")


_following: set[asyncio.Task[None]] = set()
"""Running tasks; the loop itself holds only weak references."""


def follow(refresh: Callable[[], None], running: Callable[[], bool], seconds: float) -> None:
    """Refresh at intervals while something runs, and once at its end.

    So only one thread, the kernel's, touches widgets and figures. Without a running loop there is no notebook: a script
    has to refresh by itself.

    Args:
        refresh: shows the state of the work.
        running: whether the work still runs.
        seconds: between two refreshes.
    """

    async def poll() -> None:
        while running():
            refresh()
            await asyncio.sleep(seconds)
        refresh()

    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        return
    task = loop.create_task(poll())
    _following.add(task)
    task.add_done_callback(_following.discard)
