"""A text with every figure, for readers who hear a page instead of seeing it."""

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


def described(fig: Figure, text: str) -> Figure:
    """Attach an alternative text to a figure that is drawn; a notebook then shows it as an ``<img>`` with that text.

    The texts inside the figure are made plain as well (:func:`pcvr.plots.plain.make_plain`).

    JupyterLab leaves the ``alt`` of plain PNG outputs empty, so the figure brings an HTML output of its own.

    Args:
        fig: any matplotlib figure; it is changed and handed back.
        text: what the figure shows, in a sentence or two; line breaks and runs of spaces become single spaces.

    Raises:
        PcvrError: the text is empty.
    """
    words = legible(" ".join(text.split()))
    if not words:
        raise PcvrError("the description of a figure is empty: say in a sentence what the figure shows.")
    make_plain(fig)
    setattr(fig, _ATTRIBUTE, words)
    fig._repr_mimebundle_ = partial(_bundle, fig)  # IPython looks for this name
    return fig


def description(fig: Figure) -> str:
    """The text that :func:`described` attached, else the empty string."""
    return str(getattr(fig, _ATTRIBUTE, ""))


def png(fig: Figure, sharpness: float = SHARPNESS) -> bytes:
    """The figure as a PNG file; its description stands in the file's metadata too.

    Args:
        fig: drawn at ``sharpness`` times its own dpi.
        sharpness: a positive number.
    """
    out = io.BytesIO()
    text = description(fig)
    fig.savefig(out, format="png", dpi=sharpness * fig.dpi, metadata={"Description": text} if text else None)
    return out.getvalue()


def _bundle(fig: Figure, include: Any = None, exclude: Any = None) -> dict[str, str]:
    """What IPython displays: an image with its text, and the text alone where there are no images."""
    text = description(fig)
    width = round(fig.get_figwidth() * fig.dpi)
    source = b64encode(png(fig)).decode()
    image = f'<img src="data:image/png;base64,{source}" alt="{escape(text)}" style="width:{width}px;max-width:100%">'
    return {"text/html": image, "text/plain": f"Figure: {text}"}
