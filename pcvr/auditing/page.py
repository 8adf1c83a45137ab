"""The report of an audit: one HTML file without widgets or links, for a reader who was not there."""

from __future__ import annotations

import io
from base64 import b64encode
from collections.abc import Iterator
from html import escape
from typing import TYPE_CHECKING

from PIL import Image as PilImage

from pcvr.auditing.clusters import clusters_of
from pcvr.auditing.explain import Shown, explained
from pcvr.auditing.limits import LIMITS, measured_failures
from pcvr.errors import legible
from pcvr.plots.audit import heated, place_of, score_histogram
from pcvr.plots.page import image_of, page_of, table_of

if TYPE_CHECKING:
    from pcvr.auditing.result import AuditResult
    from pcvr.data.sample import Image

SIDE = 180
"""Least side of a picture on the page, pixels."""
_HOW = """
<p>A <b>score</b> counts in powers of ten: how improbable the sample is among ordinary ones. It adds up how unexpected
the label is to the model and, where a trigger was found, how rare its answer is elsewhere and how much the sample looks
like the trigger. A <b>trigger</b> is something in pictures or prompts that goes with labels that the model does not
expect and the pictures do not explain. <b>Probability of chance</b>: of a group that a classifier tells apart so well,
although nothing is in it, over all groups that were tried. The threshold is set on the data's own ordinary samples; no
truth about the data is used.</p>
"""


def report_page(audit: AuditResult, made_by: str = "", worst: int = 12) -> str:
    """Return the report as HTML; it opens the model to explain the `worst` samples."""
    title = f"Audit: {legible(audit.data.name)}"
    return page_of(title, [f"<h1>{escape(title)}</h1>", *_parts(audit, made_by, worst)])


def _parts(audit: AuditResult, made_by: str, worst: int) -> Iterator[str]:
    about = audit.about
    yield from (f"<p><b>{escape(line)}</b></p>" for line in str(audit).splitlines())
    command = f" Written by <code>{escape(made_by)}</code>." if made_by else ""
    taken = f"{about['seconds']:.0f} s" + (" (a part was scored before)" if about["resumed"] else "")
    yield (
        f"<p>{len(audit)} samples, model {escape(str(about['model']))}, {taken}, "
        f"{1000 * about['seconds'] / max(1, len(audit)):.1f} ms a sample.{command}</p>"
    )
    yield "<h2>Summary</h2>"
    yield table_of(
        "Issues",
        ("issue", "mean score", "samples"),
        [(name, f"{score:.1f}", count) for name, score, count in audit.counts()],
    )
    yield from _findings(audit)
    yield "<h2>What to do next</h2>"
    yield _advice(audit)
    yield "<h2>Scores</h2>"
    yield _HOW
    yield image_of(score_histogram(audit.verdict.scores, audit.flagged, audit.verdict.threshold))
    yield "<h2>The worst samples</h2>"
    if not audit.evidence:
        yield "<p>Nothing is flagged. These samples have the highest scores: hard or wrong labels, as a rule.</p>"
    yield from (_sample(audit, each) for each in explained(audit, worst))
    yield "<h2>Equal answers</h2>"
    yield table_of(
        "The most frequent answers, those with flagged samples first",
        ("answer", "samples", "flagged", "median rank of surprise", "pictures that speak for it, less those against"),
        [
            (legible(each.answer), each.count, each.flagged, f"{each.surprise:.2f}", f"{100 * each.speaks:+.0f} %")
            for each in clusters_of(audit)
        ],
    )
    yield "<h2>What this audit cannot see</h2>"
    yield "<ul>" + "".join(f"<li>{escape(line)}</li>" for line in (*LIMITS, *measured_failures())) + "</ul>"


def _findings(audit: AuditResult) -> Iterator[str]:
    verdict = audit.verdict
    for caption, some in (("Triggers", verdict.triggers), ("Groups that differ, and are no poison", verdict.explained)):
        if some:
            yield table_of(
                caption,
                ("what it is", "proposed by", "samples", "told apart", "chance", "pictures speak", "answers"),
                [
                    (
                        one.kind, one.source, one.size, f"{100 * one.told_apart:.0f} % (chance: 3 %)",
                        f"{one.chance:.0e}",
                        f"{100 * one.explained:+.0f} %", legible("; ".join(audit.answers_of(one))) or "none in common",
                    )
                    for one in some
                ],
            )  # fmt: skip


def _advice(audit: AuditResult) -> str:
    verdict = audit.verdict
    if not verdict.evidence:
        return (
            "<p>Use the data as they are, and keep this report. To look closer, run the audit with a short warm-up "
            "(<code>--warm-up 30</code>), or with a model that knows the task better. A defence during the training "
            "(<code>pcvr train --defense pcvr</code>) costs little.</p>"
        )
    return (
        "<ol><li>Look at the flagged samples below. Is there something in the pictures, where the maps are red, that "
        "the answers go with?</li>"
        "<li>If so, leave them out: <code>pcvr audit ... --clean FILE</code> writes the data without them and a log. "
        "Nothing is deleted.</li>"
        "<li>Find out who made these samples, and look at everything else from there.</li>"
        "<li>Some poison may be left: train with a defence (<code>pcvr train --defense pcvr</code>).</li>"
        "<li>If they are honest, keep them, and say why in your notes: this report is evidence, no proof.</li></ol>"
    )


def _sample(audit: AuditResult, shown: Shown) -> str:
    sample, verdict = shown.sample, audit.verdict
    flagged = f", flagged, trigger {int(verdict.trigger[shown.row]) + 1}" if audit.flagged[shown.row] else ""
    several = len(sample.exchanges) > 1
    lines = [("system turn", sample.system)] if sample.system else []
    for number, (prompt, answer) in enumerate(sample.exchanges, 1):
        which = f" {number}" if several else ""
        lines += [(f"prompt{which}", prompt), (f"label{which}", answer)]
    lines += [
        ("the model says" + (" to prompt 1" if several else ""), shown.answer or "(nothing)"),
        *((f"to view {number} of the picture", text or "(nothing)") for number, text in enumerate(shown.views, 1)),
    ]
    if shown.words:
        lines.append(("words that tell", ", ".join(shown.words)))
    told = "".join(
        f"<tr><th scope='row'>{escape(name)}</th><td>{escape(legible(text))}</td></tr>" for name, text in lines
    )
    name = escape(legible(sample.id))
    picture = _picture(sample.image, f"the picture of sample {legible(sample.id)}")
    where = ""
    if shown.likeness is not None:
        where = _picture(
            heated(sample.image, shown.likeness),
            f"where sample {legible(sample.id)} looks like the trigger: {place_of(shown.likeness)}",
        )
    return (
        f"<h3>{name} (score {verdict.scores[shown.row]:.1f}{flagged})</h3><p>{picture} {where}</p><table>{told}</table>"
    )


def _picture(image: Image, text: str) -> str:
    """Return an image as a PNG inside the page; small ones are enlarged without smoothing, large ones made smaller."""
    height, width = image.shape[:2]
    scale = SIDE / min(height, width)
    scale = max(1, round(scale)) if scale > 1 else scale
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    out = io.BytesIO()
    PilImage.fromarray(image).resize(
        size, PilImage.Resampling.NEAREST if scale >= 1 else PilImage.Resampling.LANCZOS
    ).save(out, format="PNG")
    return f'<img src="data:image/png;base64,{b64encode(out.getvalue()).decode()}" alt="{escape(text)}">'
