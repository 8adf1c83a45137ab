"""The data that a command's options name, and lines that say what was taken of them."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pcvr.cli.screen import say

if TYPE_CHECKING:
    from pcvr.data.sample import Dataset

_APART = "it comes without splits and is used whole; --split train and --split test keep training and evaluation apart"


@dataclass(frozen=True)
class Source:
    """What the options say about data.

    Attributes:
        data: scenes, a file or a folder.
        task: what is asked of the pictures.
        images: folder of the pictures.
        annotations: VQAv2's answers.
        skip_bad: whether entries that cannot be used are left out.
        follow_links: whether links may lead out of the folder of pictures.
        lines: what there is to say of what was opened; of scenes nothing.
    """

    data: str
    task: str | None = None
    images: Path | None = None
    annotations: Path | None = None
    skip_bad: bool = False
    follow_links: bool = False
    lines: list[str] = field(default_factory=list)

    def say(self) -> None:
        """Print the lines. An error that comes first stands alone."""
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
    ) -> Dataset:
        """Open the data; :meth:`say` then tells which part of them it is, and what was left out.

        Args:
            split: which split; None for `prefer` of data with splits, and for the whole of others.
            n: how many samples.
            prefer: the split that the command is for.
            most: how many samples at most, where `n` is not given.
            apart: whether data without splits are split, by hash, though nobody asked for it.
        """
        from pcvr.data import open_data, subset

        options: dict[str, Any] = {"task": self.task, "images": self.images, "annotations": self.annotations}
        if self.data == "scenes":
            return open_data("scenes", split, most if n is None else n, prefer=prefer, **options)
        options |= {"skip_bad": self.skip_bad, "follow_links": self.follow_links}
        # Only opening a picture shows that it is broken.
        found: Any = open_data(self.data, split, prefer=prefer, check_pictures=self.skip_bad, **options)
        if apart and split is None and whole(found):
            found = found.split(prefer)
        self.lines.append(told(found, asked=split is not None))
        if n is None and most is not None and len(found) > most:
            self.lines.append(f"data: {most} of them are looked at; --n {len(found)} takes all")
            n = most
        return found if n is None else subset(found, n)


def whole(found: Dataset) -> bool:
    """Whether these are all samples of data that come without splits."""
    from pcvr.data import Subset

    return not isinstance(found, Subset) and not getattr(found, "splits", None)


def told(found: Dataset, asked: bool) -> str:
    """What was taken of data from outside, on a line; below it the problems of entries that were left out."""
    line = f"data: {found.name}, {len(found)} samples" + (f": {_APART}" if whole(found) and not asked else "")
    report = getattr(found, "report", None)
    if report is None:
        return line
    if report.problems:
        return f"{line}\n{report}"
    return line + (f"; noted: {report.noted()}" if report.notes else "")
