"""The explorer of notebook 06: choose model, image, trigger, view and token, and see the distributions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from html import escape
from typing import TYPE_CHECKING, Any

from pcvr.analysis.two_views import FORCES, ViewTrace, forced_answers, trace_answers
from pcvr.errors import PcvrError
from pcvr.plots.distributions import trace_figure
from pcvr.utils.checks import check_choice
from pcvr.views import OPERATORS, PatchView
from pcvr.widgets.page import on_page, wrapped_row
from pcvr.widgets.picture import figure_image
from pcvr.widgets.redraw import View, on_change, redrawing

if TYPE_CHECKING:
    from ipywidgets import HTML, Dropdown, FloatSlider, Image, IntSlider, VBox
    from matplotlib.figure import Figure

    from pcvr.attacks import Attack
    from pcvr.data.sample import Sample
    from pcvr.models.vlm import VisionLanguageModel

_INPUTS = ("clean", "triggered")
_FORCE_WORDS = {"own": "the model's own answer", "true": "the true answer", "target": "the attacker's target"}


@dataclass(frozen=True)
class DistributionChoice:
    """One setting of the explorer.

    Attributes:
        stage: name of a model.
        sample: position of an image.
        shown: ``"clean"`` or ``"triggered"``.
        operator: patch operator.
        fraction: fraction of the patches that change, (0, 1].
        seed: of the patches and donors.
        force: which answer is read.
        token: position in the answer, from 0; beyond the end, the last one.
    """

    stage: str
    sample: int = 0
    shown: str = "triggered"
    operator: str = "swap"
    fraction: float = 0.6
    seed: int = 0
    force: str = "own"
    token: int = 0


class TraceSource:
    """The models and images of the explorer, with a cache of recent results."""

    def __init__(self, stages: Mapping[str, VisionLanguageModel], samples: Sequence[Sample], attack: Attack) -> None:
        """
        Args:
            stages: name to model, in order.
            samples: clean samples, at least two (the swap operator takes patches of the next one).
            attack: the attack with trigger and target.

        Raises:
            PcvrError: there is no model, or fewer than two samples.
        """
        if not stages or len(samples) < 2:
            raise PcvrError(
                f"{len(stages)} models and {len(samples)} images: give the explorer a model and two images or more."
            )
        self.stages, self.samples, self.attack = dict(stages), list(samples), attack
        self._answers = lru_cache(maxsize=32)(self._forced)
        self._traces = lru_cache(maxsize=16)(self._trace_all)

    def trace(self, choice: DistributionChoice) -> ViewTrace:
        """Return the distributions for a choice, whose token is ignored.

        Raises:
            PcvrError: there is no such stage, image or operator.
        """
        check_choice("stage", choice.stage, self.stages)
        check_choice("input", choice.shown, _INPUTS)
        if not 0 <= choice.sample < len(self.samples):
            raise PcvrError(f"image {choice.sample} does not exist: give 0 to {len(self.samples) - 1}.")
        return self._traces(replace(choice, sample=0, token=0))[choice.sample]

    def prompt(self, choice: DistributionChoice) -> str:
        """Return the prompt of the model."""
        sample = self.samples[choice.sample]
        return self.attack.triggered(sample).prompt if choice.shown == "triggered" else sample.prompt

    def _trace_all(self, choice: DistributionChoice) -> list[ViewTrace]:
        said = self._answers(choice.stage, choice.shown, choice.force)
        view = PatchView(choice.operator, choice.fraction)
        applied = self.attack if choice.shown == "triggered" else None
        return trace_answers(self.stages[choice.stage], self.samples, said, view, choice.seed, applied)

    def _forced(self, stage: str, shown: str, force: str) -> tuple[str, ...]:
        applied = self.attack if shown == "triggered" else None
        return tuple(forced_answers(self.stages[stage], self.samples, applied, force, self.attack))


def distribution_figure(source: TraceSource, choice: DistributionChoice) -> Figure:
    """Draw a choice: both images, both distributions at the token, and the divergence along the answer."""
    trace = source.trace(choice)
    title = f"{choice.stage} model, {choice.shown} image {choice.sample + 1}"
    return trace_figure(trace, min(choice.token, len(trace.tokens) - 1), title)


def distribution_caption(source: TraceSource, choice: DistributionChoice) -> str:
    """Return HTML with the question, the answer that is read, and the divergence of the views."""
    trace = source.trace(choice)
    return (
        f'<div role="status">Asked: “{escape(source.prompt(choice))}”. Read: {_FORCE_WORDS[choice.force]}, '
        f"“{escape(trace.text) or '(nothing)'}”. Mean divergence "
        f"{trace.divergence.mean():.3f} nats; mean entropy {trace.entropy.mean():.3f} nats on the original, "
        f"{trace.view_entropy.mean():.3f} on the view.</div>"
    )


@dataclass(frozen=True)
class DistributionControls:
    """The explorer's widgets by name."""

    stage: Dropdown
    sample: IntSlider
    shown: Dropdown
    operator: Dropdown
    fraction: FloatSlider
    seed: IntSlider
    force: Dropdown
    token: IntSlider
    image: Image
    message: HTML

    def choice(self) -> DistributionChoice:
        """Return the choice that is set."""
        return DistributionChoice(
            stage=self.stage.value,
            sample=self.sample.value - 1,
            shown=self.shown.value,
            operator=self.operator.value,
            fraction=self.fraction.value,
            seed=self.seed.value,
            force=self.force.value,
            token=self.token.value - 1,
        )


def distribution_explorer(
    source: TraceSource, start: DistributionChoice | None = None
) -> tuple[VBox, DistributionControls]:
    """Build the explorer.

    Args:
        source: models and images.
        start: the first choice; by default the first model and the first image, triggered.

    Returns:
        The box to display, and its controls.
    """
    import ipywidgets as w

    first = start or DistributionChoice(next(iter(source.stages)))
    style: dict[str, Any] = {"style": {"description_width": "6.5em"}, "layout": w.Layout(width="23em")}
    slow: dict[str, Any] = {**style, "continuous_update": False}
    tokens = len(source.trace(first).tokens)
    controls = DistributionControls(
        stage=w.Dropdown(options=list(source.stages), value=first.stage, description="Model", **style),
        sample=w.IntSlider(first.sample + 1, 1, len(source.samples), description="Image", **slow),
        shown=w.Dropdown(options=_INPUTS, value=first.shown, description="Input", **style),
        operator=w.Dropdown(options=OPERATORS, value=first.operator, description="Operator", **style),
        fraction=w.FloatSlider(first.fraction, min=0.1, max=1.0, step=0.1, description="Fraction", **slow),
        seed=w.IntSlider(first.seed, 0, 20, description="View seed", **slow),
        force=w.Dropdown(
            options=[(_FORCE_WORDS[f], f) for f in FORCES], value=first.force, description="Read along", **style
        ),
        token=w.IntSlider(min(first.token, tokens - 1) + 1, 1, max(tokens, 1), description="Token", **slow),
        image=figure_image(distribution_figure(source, first)),
        message=w.HTML(distribution_caption(source, first)),
    )
    _wire(source, controls)
    left = w.VBox([controls.stage, controls.sample, controls.shown, controls.token])
    right = w.VBox([controls.operator, controls.fraction, controls.seed, controls.force])
    return on_page(wrapped_row(left, right), controls.message, controls.image), controls


def _wire(source: TraceSource, controls: DistributionControls) -> None:
    def draw() -> View:
        controls.token.max = len(source.trace(controls.choice()).tokens)  # which may move the slider
        choice = controls.choice()
        return View(distribution_caption(source, choice), (distribution_figure(source, choice),))

    names = ("stage", "sample", "shown", "operator", "fraction", "seed", "force", "token")
    on_change((getattr(controls, name) for name in names), redrawing(draw, controls.message, controls.image))
