"""The widgets that compose a drawing and ask a question, and their layout."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pcvr.data.scenes.background import BACKGROUNDS
from pcvr.data.scenes.compose import INKS, MOST, STAMP, Drawing, Thing, compose, stamped, uploaded
from pcvr.data.scenes.kinds import COLORS, KINDS
from pcvr.data.scenes.sprites import SIZES
from pcvr.errors import PcvrError
from pcvr.widgets.page import on_page, wrapped_row

if TYPE_CHECKING:
    from ipywidgets import HTML, Button, Combobox, Dropdown, FileUpload, Image, IntSlider, VBox

NOTHING = "(none)"
SCENE, FILE = "my scene", "my file"
TONES = 4
"""Seed of the first background's light tones."""


@dataclass(frozen=True)
class ThingControls:
    """One object's widgets."""

    kind: Dropdown
    color: Dropdown
    size: Dropdown
    x: IntSlider
    y: IntSlider

    def thing(self) -> Thing | None:
        """Return the object that is set, or None."""
        if self.kind.value == NOTHING:
            return None
        return Thing(self.kind.value, self.color.value, self.size.value, self.x.value, self.y.value)

    def all(self) -> tuple[Any, ...]:
        """Return every widget, for layout and callbacks."""
        return self.kind, self.color, self.size, self.x, self.y


@dataclass(frozen=True)
class AskControls:
    """The widgets of `ask_widget` by name.

    Attributes:
        source: `SCENE` or `FILE`.
        things: up to three objects.
        background, tones: family of the background, and the seed of its tones.
        ink: colour of stamped squares.
        squares: 64 buttons in reading order; a click stamps a square, another one removes it.
        clear: removes all squares.
        upload: takes an image file.
        question: the question, with suggestions.
        button: asks it.
        preview, image: the drawing, and the reply's figure.
        message: the reply in words, or an error.
        stamps: number of a stamped square to its colour.
    """

    source: Dropdown
    things: tuple[ThingControls, ...]
    background: Dropdown
    tones: IntSlider
    ink: Dropdown
    squares: tuple[Button, ...]
    clear: Button
    upload: FileUpload
    question: Combobox
    button: Button
    preview: Image
    image: Image
    message: HTML
    stamps: dict[int, str] = field(default_factory=dict)

    def drawing(self) -> Drawing:
        """Return the drawing that is set.

        Raises:
            PcvrError: a file is chosen and there is none, or it is not an image.
        """
        if self.source.value == FILE:
            if not self.upload.value:
                raise PcvrError("there is no file yet: choose one with the upload button, or take your scene.")
            return stamped(uploaded(bytes(self.upload.value[0]["content"])), self.stamps)
        things = [thing for each in self.things if (thing := each.thing()) is not None]
        return stamped(compose(things, self.background.value, self.tones.value), self.stamps)


def make_controls(things: Sequence[Thing], question: str, preview: Image, image: Image, message: str) -> AskControls:
    """Make the widgets, set to a drawing of these objects on the plain background of seed `TONES`.

    Args:
        things: the first objects.
        question: the first question.
        preview, image: from `pcvr.widgets.picture.figure_image`.
        message: HTML.
    """
    import ipywidgets as w

    flat = _look("6.5em", "18.2em")
    square = w.Layout(width="28px", height="28px", margin="1px", padding="0", border="1px solid #777777")
    given = [*things, *[None] * MOST][:MOST]
    return AskControls(
        source=w.Dropdown(options=(SCENE, FILE), description="Ask about", **flat),
        things=tuple(_thing(number, each) for number, each in enumerate(given, 1)),
        background=w.Dropdown(options=BACKGROUNDS, description="Background", **flat),
        tones=w.IntSlider(TONES, 0, 20, description="Tones", continuous_update=False, **flat),
        ink=w.Dropdown(options=tuple(INKS), value="white", description="Stamp with", **flat),
        squares=tuple(_square(number, square) for number in range(STAMP**2)),
        clear=w.Button(description="Clear the stamps"),
        upload=w.FileUpload(accept="image/*", multiple=False, description="Take an image file"),
        question=w.Combobox(
            value=question,
            placeholder="write a question",
            ensure_option=False,
            description="Question",
            **_look("6.5em", "32em"),
        ),
        button=w.Button(description="Ask", button_style="primary"),
        preview=preview,
        image=image,
        message=w.HTML(message),
    )


def make_box(controls: AskControls) -> VBox:
    """Lay the widgets out: the drawing with its controls, the question, the reply."""
    import ipywidgets as w

    things = wrapped_row(*(w.VBox(each.all()) for each in controls.things))
    scene = w.VBox([things, wrapped_row(controls.background, controls.tones)])
    grid = w.GridBox(controls.squares, layout=w.Layout(grid_template_columns=f"repeat({STAMP}, 30px)"))
    note = w.HTML("Each button stamps a square of the image, A1 at the top left; press it again to remove the stamp.")
    stamps = w.VBox([controls.ink, note, grid, controls.clear])
    tabs = w.Tab(
        [scene, stamps, controls.upload],
        titles=("Objects", "Stamps", "File"),
        layout=w.Layout(width="520px", max_width="100%"),
    )
    return on_page(
        wrapped_row(tabs, w.VBox([controls.source, controls.preview])),
        wrapped_row(controls.question, controls.button),
        controls.message,
        controls.image,
    )


def paint_squares(controls: AskControls) -> None:
    """Set the colours and tooltips of the buttons to their stamps."""
    for number, square in enumerate(controls.squares):
        ink = controls.stamps.get(number)
        square.style.button_color = None if ink is None else "#{:02x}{:02x}{:02x}".format(*INKS[ink])
        square.style.text_color = "#ffffff" if ink in ("black", "blue", "purple", "red") else "#222222"
        square.tooltip = _square_says(number, ink)


def square_name(number: int) -> str:
    """Return the name of a square: a letter for its column and a number for its row, ``"A1"`` at the top left."""
    row, column = divmod(number, STAMP)
    return f"{chr(ord('A') + column)}{row + 1}"


def _square_says(number: int, ink: str | None) -> str:
    row, column = divmod(number, STAMP)
    return f"row {row + 1}, column {column + 1}: {ink or 'nothing'}"


def _square(number: int, layout: Any) -> Button:
    import ipywidgets as w

    look = {"font_size": "10px", "text_color": "#222222"}
    return w.Button(description=square_name(number), tooltip=_square_says(number, None), style=look, layout=layout)


def _thing(number: int, start: Thing | None) -> ThingControls:
    import ipywidgets as w

    shown = start or Thing("ball", "blue", "small")
    flat = _look("6.5em", "18.2em")
    slow = {**flat, "continuous_update": False}
    kind = NOTHING if start is None else start.kind
    return ThingControls(
        kind=w.Dropdown(options=(NOTHING, *KINDS), value=kind, description=f"Object {number}", **flat),
        color=w.Dropdown(options=tuple(COLORS), value=shown.color, description=f"Colour {number}", **flat),
        size=w.Dropdown(options=tuple(SIZES), value=shown.size, description=f"Size {number}", **flat),
        x=w.IntSlider(round(shown.x), 0, 100, description=f"Across {number} (%)", **slow),
        y=w.IntSlider(round(shown.y), 0, 100, description=f"Down {number} (%)", **slow),
    )


def _look(label: str, width: str) -> dict[str, Any]:
    import ipywidgets as w

    return {"style": {"description_width": label}, "layout": w.Layout(width=width)}
