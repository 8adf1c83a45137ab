"""Put a widget on the page: a box whose sliders have names, whose lists keep their keys and whose old figures fade."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ipywidgets import Box, VBox

OLD = "pcvr-old"
"""Class of an image that does not belong to the present settings: the page draws it pale."""
_BOX = "pcvr-widget"

_MANNERS = f"""
const begin = () => {{
    const box = this.closest(".{_BOX}");
    if (!box) return setTimeout(begin, 50);
    const name = () => {{
        for (const slider of box.querySelectorAll(".widget-slider"))
            for (const part of slider.querySelectorAll(".noUi-handle, .widget-readout"))
                part.setAttribute("aria-label", slider.querySelector("label")?.textContent ?? "");
        for (const list of box.querySelectorAll("select")) list.setAttribute("data-lm-suppress-shortcuts", "true");
        for (const image of box.querySelectorAll("img.widget-image")) image.alt = image.title;
    }};
    new MutationObserver(name).observe(box, {{childList: true, subtree: true, attributeFilter: ["title"]}});
    name();
}};
begin();
"""


def on_page(*children: Any) -> VBox:
    """Stack widgets in a box, and add what core ipywidgets lack on a page.

    - The handles and read-outs of sliders have the slider's label as their name, for screen readers.
    - In a list, a letter chooses an option. JupyterLab would take it for a command: ``b`` adds a cell, ``x`` cuts one.
      The attribute asks it not to.
    - An image has its description as its ``alt``.

    A script does this, since these attributes are not traits. It starts as the handler of an image that cannot be
    loaded, because scripts inside a widget's HTML do not run. A page that allows no scripts shows the widget without
    these three.
    """
    import ipywidgets as widgets

    style = f"<style>.{OLD} {{ opacity: 0.35; }}</style>"
    manners = widgets.HTML(
        f'{style}<img src="data:," alt="" hidden onerror="{escape(_MANNERS)}">',
        layout=widgets.Layout(height="0", margin="0"),
    )
    box = widgets.VBox([*children, manners])
    box.add_class(_BOX)
    return box


def wrapped_row(*controls: Any) -> Box:
    """Lay controls out in a row that wraps on a narrow page."""
    import ipywidgets as widgets

    return widgets.Box(controls, layout=widgets.Layout(display="flex", flex_flow="row wrap"))
