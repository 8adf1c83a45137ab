"""Widgets as pictures: what a saved notebook knows about a widget, as HTML that needs no kernel."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from html import escape
from typing import Any

import nbformat

VIEW = "application/vnd.jupyter.widget-view+json"
_STATE = "application/vnd.jupyter.widget-state+json"
_NOTE = "Not live here: a picture of the widget as it starts. Run the notebook to move its controls."


def state_of(notebook: Any) -> Mapping[str, Any]:
    """Return the saved widgets of a notebook by their ids; empty if none were saved."""
    state: Mapping[str, Any] = notebook.metadata.get("widgets", {}).get(_STATE, {}).get("state", {})
    return state


def without_kernel(notebook: Any) -> None:
    """Replace each widget of an executed notebook by its picture, in place; one that shows nothing goes."""
    state = state_of(notebook)
    for cell in notebook.cells:
        if "outputs" in cell:
            cell.outputs = [kept for output in cell.outputs if (kept := _still(output, state)) is not None]
    notebook.metadata.pop("widgets", None)


def _still(output: Any, state: Mapping[str, Any]) -> Any | None:
    data = output.get("data", {})
    if VIEW in data:
        html = as_picture(state, data[VIEW]["model_id"])
        if html is None:
            return None
        output.data = nbformat.from_dict({"text/html": html})
    return output


def as_picture(state: Mapping[str, Any], model: str) -> str | None:
    """Return the widget with id `model` as a framed HTML figure; None for what shows nothing, such as a progress bar.

    The frame has the widget's pictures and texts, and its controls with their values.
    """
    parts = list(_parts(state, model))
    shown = [html for kind, html in parts if kind == "shown"]
    controls = [html for kind, html in parts if kind == "control"]
    if not parts or any(kind == "progress" for kind, _ in parts):
        return None
    rows = f"<dl>{''.join(controls)}</dl>" if controls else ""
    return f'<figure class="widget-picture"><figcaption>{_NOTE}</figcaption>{rows}{"".join(shown)}</figure>'


def _parts(state: Mapping[str, Any], model: str) -> Iterator[tuple[str, str]]:
    """Yield the parts of a widget in reading order, each with its kind: shown, control or progress."""
    if model not in state:
        return
    name, values = state[model]["model_name"], state[model]["state"]
    label = str(values.get("description") or "")
    if "Progress" in name:
        yield "progress", ""
    elif name == "ImageModel":
        data = next(part["data"] for part in state[model].get("buffers", ()) if part["path"] == ["value"])
        text = escape(str(values.get("_alt") or values.get("tooltip") or "The widget's figure"))
        yield "shown", f'<img alt="{text}" src="data:image/png;base64,{data}">'
    elif name in ("HTMLModel", "HTMLMathModel"):
        yield "shown", f"<div>{values.get('value', '')}</div>"
    elif name == "LabelModel":
        yield "shown", f"<p>{escape(str(values.get('value', '')))}</p>"
    elif name == "OutputModel":
        for output in values.get("outputs", ()):
            yield "shown", _output(output)
    elif name == "ButtonModel":
        yield "control", f"<div><dt>{escape(label)}</dt><dd>a button</dd></div>"
    elif label and (value := _value(values)) is not None:
        yield "control", f"<div><dt>{escape(label)}</dt><dd>{escape(value)}</dd></div>"
    for child in values.get("children", ()):
        yield from _parts(state, str(child).removeprefix("IPY_MODEL_"))


def _output(output: Mapping[str, Any]) -> str:
    data = output.get("data", {})
    if "text/html" in data:
        return "".join(data["text/html"])
    return f"<pre>{escape(''.join(data.get('text/plain', output.get('text', ''))))}</pre>"


def _value(values: Mapping[str, Any]) -> str | None:
    """Return the value of a control as text, or None for what is no control."""
    labels = values.get("_options_labels")
    if labels is not None:
        index = values.get("index")
        chosen = index if isinstance(index, list | tuple) else [index]
        return ", ".join(str(labels[each]) for each in chosen if each is not None) or "none"
    value = values.get("value")
    if isinstance(value, bool):
        return "on" if value else "off"
    return None if value is None else f"{value:g}" if isinstance(value, float) else str(value)
