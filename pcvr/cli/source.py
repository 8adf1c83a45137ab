"""Open the data that a command's options name, and describe what was opened."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pcvr.cli.screen import say

if TYPE_CHECKING:
    from pcvr.data.sample import Dataset

_APART = "it has no splits and is used whole; --split train and --split test keep training and evaluation apart"


@dataclass(frozen=True)
class Source:
    """The options about data.

    Attributes:
        data: scenes, a file or a folder.
        task: the task.
        images: folder of the images.
        annotations: VQAv2's answers.
        skip_bad: whether to leave out unusable entries.
        follow_links: whether links may lead out of the folder of images.
        turns: how conversations are read.
        lines: the description of the opened data; empty for scenes.
    """

    data: str
    task: str | None = None
    images: Path | None = None
    annotations: Path | None = None
    skip_bad: bool = False
    follow_links: bool = False
    turns: str = "together"
    lines: list[str] = field(default_factory=list)

    def say(self) -> None:
        """Print the lines, at the end of a command, so that an error stands alone."""
        for line in self.lines:
            say(line)

    def open(
        self,
        split: str | None,
        n: int | None = None,
        prefer: str = "train",
        *,
        most: int | None = None,
        apart: bool = False,
        hint: bool = True,
    ) -> Dataset:
        """Open the data and record lines for :meth:`say`: which part was opened, and what was left out.

        Args:
            split: the split; None takes `prefer` of data with splits, and all of other data.
            n: number of samples.
            prefer: the split for this command.
            most: largest number of samples without `n`.
            apart: whether to split data without splits by hash, although no split was given.
            hint: whether the line says how to keep training and evaluation apart.
        """
        from pcvr.data import open_data, subset
        from pcvr.data.report import BadData

        options: dict[str, Any] = {"task": self.task, "images": self.images, "annotations": self.annotations}
        if self.data == "scenes":
            return open_data("scenes", split, most if n is None else n, prefer=prefer, **options)
        options |= {"skip_bad": self.skip_bad, "follow_links": self.follow_links, "turns": self.turns}
        # Only opening an image shows that it is broken.
        try:
            found: Any = open_data(self.data, split, prefer=prefer, check_pictures=self.skip_bad, **options)
        except BadData as error:
            if self.skip_bad:
                raise
            raise BadData(error.report, "correct them, or give --skip-bad to leave them out") from error
        if apart and split is None and whole(found):
            found = found.split(prefer)
        self.lines.append(describe(found, asked=split is not None or not hint))
        if n is None and most is not None and len(found) > most:
            self.lines.append(f"data: {most} of them are used; --n {len(found)} takes all")
            n = most
        return found if n is None else subset(found, n)


def whole(found: Dataset) -> bool:
    """Return whether these are all samples of data without splits."""
    from pcvr.data import Subset

    return not isinstance(found, Subset) and not getattr(found, "splits", None)


def describe(found: Dataset, asked: bool) -> str:
    """Describe the opened data in a line, followed by the problems of entries that were left out."""
    line = f"data: {found.name}, {len(found)} samples" + (f": {_APART}" if whole(found) and not asked else "")
    report = getattr(found, "report", None)
    if report is None:
        return line
    if report.problems:
        return f"{line}\n{report}"
    return line + (f"; noted: {report.noted()}" if report.notes else "")
