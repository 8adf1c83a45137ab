"""A matplotlib Figure inside a widget: an Image whose PNG is exchanged when something moves."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pcvr.plots.describe import description, png

if TYPE_CHECKING:
    from ipywidgets import Image
    from matplotlib.figure import Figure


def figure_image(fig: Figure) -> Image:
    """A widget that shows ``fig`` at its own size, narrower where the page is.

    Its tooltip carries the figure's description: core ipywidgets have no ``alt``, and screen readers take an image's
    title in its place.
    """
    from ipywidgets import Image, Layout
    from traitlets import Unicode

    image = Image(format="png", layout=Layout(max_width="100%"))
    # The page's code for tooltips reads the length of a description, which images lack: without one, ipywidgets 8.1
    # shows a JavaScript error in place of an image that has a tooltip.
    image.add_traits(description=Unicode("").tag(sync=True))
    show_in(image, fig)
    return image


def show_in(image: Image, fig: Figure) -> None:
    """Exchange what ``image`` (from :func:`figure_image`) shows for ``fig``, text included."""
    image.layout.display = None  # it may have vanished with an answer that failed
    image.layout.width = f"{round(fig.get_figwidth() * fig.dpi)}px"
    image.tooltip = description(fig) or None
    image.value = png(fig)
