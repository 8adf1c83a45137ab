"""Show a matplotlib Figure inside a widget."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from pcvr.plots.describe import description, png
from pcvr.widgets.page import OLD

if TYPE_CHECKING:
    from ipywidgets import Image
    from matplotlib.figure import Figure


class Rendering(NamedTuple):
    """A drawn figure: the PNG file, its width on the page in pixels, and its description."""

    png: bytes
    width: int
    text: str


def rendered(figure: Figure) -> Rendering:
    """Draw a figure."""
    return Rendering(png(figure), round(figure.get_figwidth() * figure.dpi), description(figure))


def figure_image(figure: Figure | None = None) -> Image:
    """Return a widget that shows a figure at its own size, or narrower on a narrow page; hidden without a figure.

    Its tooltip is the figure's description: core ipywidgets have no ``alt``, and screen readers read an image's title
    instead.
    """
    from ipywidgets import Image, Layout
    from traitlets import Unicode

    image = Image(format="png", layout=Layout(max_width="100%"))
    # The page's code for tooltips reads the length of a description, which images lack. Without one, ipywidgets 8.1
    # shows a JavaScript error instead of an image that has a tooltip.
    image.add_traits(description=Unicode("").tag(sync=True))
    if figure is None:
        hide(image)
    else:
        show_in(image, figure)
    return image


def show_in(image: Image, figure: Figure) -> None:
    """Replace the figure in ``image`` (from :func:`figure_image`) by another, with its text."""
    show_rendering(image, rendered(figure))


def show_rendering(image: Image, rendering: Rendering) -> None:
    """Show a figure that is drawn already."""
    image.layout.display = None  # an error may have hidden it
    image.layout.width = f"{rendering.width}px"
    with image.hold_sync():  # one message, so that picture and text change together
        image.tooltip = rendering.text or None
        image.value = rendering.png
        image.remove_class(OLD)


def hide(image: Image) -> None:
    """Take an image off the page, until the next figure is shown in it."""
    image.layout.display = "none"
