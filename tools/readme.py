"""Write the README's tables from the shipped results: ``python tools/readme.py``; ``--check`` only compares."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from statistics import mean

from pcvr.evaluation.intervals import format_rate
from pcvr.evaluation.metrics import get_metric
from pcvr.experiments.results import Table, load
from pcvr.plots.attack_lab import takes_in_words
from pcvr.plots.defenses import UNDEFENDED, side_by_side
from pcvr.utils.files import write_text
from pcvr.utils.terminal import run_command

README = Path(__file__).parent.parent / "README.md"


def spine(results: Table) -> list[str]:
    """BadNets on captions: the defences side by side."""
    lines = [
        "| defence | seeds | attack success rate [95 %] | clean pictures: CIDEr / BLEU-4 / captions right "
        "| triggered: captions right | seconds |",
        "|---|---|---|---|---|---|",
    ]
    base = results.base
    lines.append(
        f"| before fine-tuning | - | {format_rate(base['hits'], base['n'])} | {base['clean']['cider']:.1f} / "
        f"{base['clean']['bleu4']:.1f} / {100 * base['clean']['attributes']:.1f} % "
        f"| {100 * base['triggered']['attributes']:.1f} % | |"
    )
    for c in results.cells().values():
        lines.append(
            f"| {c.label} | {c.seeds} | {format_rate(c.hits, c.n)} "
            f"| {c.scores['cider']:.1f} / {c.scores['bleu4']:.1f} / {100 * c.right:.1f} % "
            f"| {100 * c.triggered_right:.1f} % | {c.seconds:.0f} |"
        )
    return [*lines, "", f"*BadNets, {_made(results)}*"]


def families(results: Table) -> list[str]:
    """Models and tasks: how well each learns, whether the attack takes, what PCVR does."""
    labels = {"clean": "clean data", "badnets-none": "5 % poison", "badnets-pcvr": "5 % poison, PCVR"}
    lines = [
        "| model | task | trained on | attack success rate [95 %] | clean: right | triggered: right "
        "| other figures | s |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for (model, task, label), c in results.cells(("model", "task", "label")).items():
        others = [f"{get_metric(k).label} {get_metric(k).format(v)}" for k, v in c.scores.items() if v != c.right]
        lines.append(
            f"| {model} | {task} | {labels[label]} | {format_rate(c.hits, c.n)} | {100 * c.right:.1f} % "
            f"| {100 * c.triggered_right:.1f} % | {', '.join(others) or '-'} | {c.seconds:.0f} |"
        )
    return [*lines, "", f"*BadNets, {_made(results)}*"]


def attacks(results: Table) -> list[str]:
    """Attacks and tasks: success at 5 %, what clean answers cost, the lowest rate that takes, the other models."""
    cells = results.cells(("task", "label", "model", "rate"))
    words = takes_in_words(results)
    models = list(dict.fromkeys(model for _, _, model, _ in cells))
    lines = [
        f"| attack | task | {models[0]} at 5 % [95 %] | right, less clean model's | from which rate (ASR ≥ 90 %) | "
        + " | ".join(f"{model} at 5 %" for model in models[1:])
        + " |",
        "|---|---|---|---|---|" + "---|" * len(models[1:]),
    ]
    for task, label in dict.fromkeys(key[:2] for key in cells):
        if label == "clean":
            continue
        main, clean = cells[task, label, models[0], "0.05"], cells[task, "clean", models[0], "0.0"]
        others = [cells.get((task, label, model, "0.05")) for model in models[1:]]
        lines.append(
            f"| {label} | {task} | {format_rate(main.hits, main.n)} | {100 * (main.right - clean.right):+.1f} % "
            f"| {words[task, models[0], label]} | "
            + " | ".join("-" if c is None else f"{100 * c.asr:.1f} %" for c in others)
            + " |"
        )
    return [*lines, "", f"*Preset `scaled`, {_made(results)}*"]


def defenses(results: Table) -> list[str]:
    """Defences down, attacks across: success under each, and what each costs in right answers."""
    cells = side_by_side(results, load("attacks"))
    attacks = [name for name in dict.fromkeys(key[2] for key in cells) if name != "clean"]
    names = [UNDEFENDED, *(name for name in dict.fromkeys(key[1] for key in cells) if name != UNDEFENDED)]
    lines = []
    for task in dict.fromkeys(key[0] for key in cells):
        lines += [
            f"| {task}: attack success | " + " | ".join(attacks) + " | clean inputs right | triggered inputs right |",
            "|---|" + "---|" * (len(attacks) + 2),
        ]
        for name in names:
            mine = {attack: cells[task, name, attack] for attack in attacks if (task, name, attack) in cells}
            if mine:
                rates = [f"{format_rate(mine[a].hits, mine[a].n)}" if a in mine else "-" for a in attacks]
                means = [mean(getattr(c, part) for c in mine.values()) for part in ("right", "triggered_right")]
                lines.append(f"| {name} | {' | '.join(rates)} | {100 * means[0]:.1f} % | {100 * means[1]:.1f} % |")
        lines.append("")
    return [*lines, f"*Right answers are means over the attacks of a row. {_made(results)}*"]


def cost(results: Table) -> list[str]:
    """What each defence's training costs against plain fine-tuning: time, with the range of the rounds, and memory."""
    tasks = list(dict.fromkeys(row["task"] for row in results.runs))
    rows = {(row["defense"], row["task"]): row for row in results.runs}
    lines = [
        "| defence | " + " | ".join(f"{task}: time | {task}: peak memory" for task in tasks) + " |",
        "|---|" + "---|---|" * len(tasks),
    ]
    for name in dict.fromkeys(row["defense"] for row in results.runs):
        mine = [rows[name, task] for task in tasks]
        cells = [
            f"{r['ratio']:.2f} x [{min(r['ratios']):.2f}, {max(r['ratios']):.2f}] | {r['peak_ratio']:.2f} x"
            for r in mine
        ]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    first = results.runs[0]
    return [
        *lines,
        "",
        f"*Median of {len(first['seconds'])} interleaved rounds of {first['steps']} steps, in brackets the least and "
        f"the most, against plain fine-tuning of the same round; `{results.made_by}`, {results.date}, torch "
        f"{results.versions['torch']}, transformers {results.versions['transformers']}, {results.machine}.*",
    ]


TABLES: dict[str, Callable[[Table], list[str]]] = {
    "spine": spine,
    "families": families,
    "attacks": attacks,
    "defenses": defenses,
    "cost": cost,
}
"""Name of a shipped table, which is also that of its markers in the README, to what writes it."""


def filled(text: str) -> str:
    """The README's `text` with each table between its markers."""
    for name, write in TABLES.items():
        begin, end = f"<!-- {name}:begin -->", f"<!-- {name}:end -->"
        head, rest = text.split(begin)
        table = "\n".join(write(load(name)))
        text = f"{head}{begin}\n{table}\n{end}{rest.split(end)[1]}"
    return text


def _made(results: Table) -> str:
    run = results.runs[0]["experiment"]
    return (
        f"{run['samples']} training scenes, 5 % poisoned (0 % where clean), {run['steps']} steps, {run['tests']} test "
        f"scenes, all seeds of a row together; `{results.made_by}`, {results.date}, torch {results.versions['torch']}, "
        f"transformers {results.versions['transformers']}, {results.machine}."
    )


def main() -> None:
    """Fill in the README, or with ``--check`` exit 1 where it differs from the shipped results."""
    text = README.read_text(encoding="utf-8")
    fresh = filled(text)
    if "--check" in sys.argv:
        raise SystemExit(
            0 if fresh == text else "README.md differs from pcvr/experiments/results: run python tools/readme.py"
        )
    write_text(README, fresh)


if __name__ == "__main__":
    run_command(main)
