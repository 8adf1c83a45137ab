"""The explorer of attackers who know the defence: what they do to an image, and what they achieved."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any

from pcvr.data.sample import Dataset
from pcvr.errors import PcvrError
from pcvr.experiments.attackers import ATTACKERS, Attempt
from pcvr.plots.attackers import poison_gallery
from pcvr.utils.checks import check_choice

if TYPE_CHECKING:
    from ipywidgets import VBox
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class AttackerControls:
    """The controls of :func:`attacker_explorer`, and where it shows the result.

    Attributes:
        attacker: name of the attacker.
        attack: name of the attack that they start from.
        sample: index of the image.
        picture: Image widget with the figure.
        status: HTML widget with what the attacker changes and achieved.
    """

    attacker: Any
    attack: Any
    sample: Any
    picture: Any
    status: Any


def attackers_of(task: str) -> list[str]:
    """Return the names of the attackers that a task has."""
    return [name for name, each in ATTACKERS.items() if task in each.tasks]


def attacker_view(
    dataset: Dataset, attempts: Sequence[Attempt], attacker: str, attack: str, index: int = 0
) -> tuple[Figure, str]:
    """Draw one attacker's samples of an image, and say what the attacker achieved.

    Args:
        dataset: where the image comes from; its task decides the target.
        attempts: from `pcvr.experiments.attackers.attempts`.
        attacker: a name of `pcvr.experiments.attackers.ATTACKERS`.
        attack: one of the attacker's attacks.
        index: index of the image.

    Returns:
        The figure, and HTML that screen readers announce.

    Raises:
        PcvrError: an unknown name, or one that the task does not have.
    """
    check_choice("attacker", attacker, attackers_of(dataset.task))
    check_choice("attack", attack, ATTACKERS[attacker].attacks)
    figure = poison_gallery(dataset[index], {attacker: ATTACKERS[attacker].attack(attack, dataset.task)})
    mine = [a for a in attempts if (a.attacker, a.attack, a.task) == (attacker, attack, dataset.task)]
    parts = [f"{each.row}: {each.rate}" for each in mine]
    said = f"{ATTACKERS[attacker].what} Attack success, {'; '.join(parts) or 'not planned'}."
    return figure, f'<div role="status">{escape(said)}</div>'


def attacker_explorer(dataset: Dataset, attempts: Sequence[Attempt]) -> tuple[VBox, AttackerControls]:
    """Build controls for the attackers of a task; code can set every control too.

    Args:
        dataset: where images come from.
        attempts: as in :func:`attacker_view`.

    Returns:
        The box to display and its controls.

    Raises:
        PcvrError: the data are empty.
    """
    import ipywidgets as widgets

    from pcvr.widgets.page import on_page, wrapped_row
    from pcvr.widgets.picture import figure_image
    from pcvr.widgets.redraw import View, on_change, redrawing

    if not len(dataset):
        raise PcvrError("the data have no sample: give at least one to show.")
    names = attackers_of(dataset.task)
    look = {"style": {"description_width": "80px"}, "layout": widgets.Layout(width="360px")}
    figure, said = attacker_view(dataset, attempts, names[0], ATTACKERS[names[0]].attacks[0])
    controls = AttackerControls(
        attacker=widgets.Dropdown(options=names, description="Attacker", **look),
        attack=widgets.Dropdown(options=ATTACKERS[names[0]].attacks, description="Attack", **look),
        sample=widgets.IntSlider(
            value=0, min=0, max=len(dataset) - 1, description="Image", continuous_update=False, **look
        ),
        picture=figure_image(figure),
        status=widgets.HTML(said),
    )

    def draw() -> View:
        attacks = ATTACKERS[controls.attacker.value].attacks
        if controls.attack.options != attacks:
            controls.attack.options = attacks  # this selects the first one
        figure, said = attacker_view(
            dataset, attempts, controls.attacker.value, controls.attack.value, controls.sample.value
        )
        return View(said, (figure,))

    moved = (controls.attacker, controls.attack, controls.sample)
    on_change(moved, redrawing(draw, controls.status, controls.picture))
    return on_page(wrapped_row(*moved), controls.status, controls.picture), controls
