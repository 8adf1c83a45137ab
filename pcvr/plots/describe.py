"""Attach a text to every figure, for readers who hear a page instead of seeing it."""

from __future__ import annotations

import io
from base64 import b64encode
from functools import partial
from html import escape
from typing import TYPE_CHECKING, Any

from pcvr.errors import PcvrError, legible
from pcvr.plots.plain import make_plain

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SHARPNESS = 1.5
"""Pixels of the PNG for each pixel on the page: lines stay crisp on dense screens, files stay small."""

_ATTRIBUTE = "_pcvr_description"


def described(fig: Figure, text: str, title: str = "") -> Figure:
    """Attach an alternative text to a finished figure; a notebook then shows it as an ``<img>`` with that text.

    The texts inside the figure are made plain too (:func:`pcvr.plots.plain.make_plain`). JupyterLab leaves the ``alt``
    of PNG outputs empty, so the figure brings its own HTML output.

    Args:
        fig: a matplotlib figure, which is changed and returned.
        text: what the figure shows, in a sentence or two; line breaks and runs of spaces become single spaces.
        title: stands before the text.

    Raises:
        PcvrError: the text is empty.
    """
    words = legible(" ".join((f"{title}. {text}" if title else text).split()))
    if not words:
        raise PcvrError("the description of a figure is empty: say in a sentence what the figure shows.")
    make_plain(fig)
    setattr(fig, _ATTRIBUTE, words)
    fig._repr_mimebundle_ = partial(_bundle, fig)  # IPython looks for this name
    return fig


def description(fig: Figure) -> str:
    """Return the text that :func:`described` attached, or the empty string."""
    return str(getattr(fig, _ATTRIBUTE, ""))


def png(fig: Figure, sharpness: float = SHARPNESS) -> bytes:
    """Render the figure as a PNG file, with its description in the metadata.

    Args:
        fig: drawn at ``sharpness`` times its own dpi.
        sharpness: a positive number.
    """
    out = io.BytesIO()
    text = description(fig)
    fig.savefig(out, format="png", dpi=sharpness * fig.dpi, metadata={"Description": text} if text else None)
    return out.getvalue()


def _bundle(fig: Figure, include: Any = None, exclude: Any = None) -> dict[str, str]:
    """Return what IPython displays: an image with its text, and the text alone where images cannot be shown."""
    text = description(fig)
    width = round(fig.get_figwidth() * fig.dpi)
    source = b64encode(png(fig)).decode()
    image = f'<img src="data:image/png;base64,{source}" alt="{escape(text)}" style="width:{width}px;max-width:100%">'
    return {"text/html": image, "text/plain": f"Figure: {text}"}
