"""What a student hands in beside a notebook: the last result of each check, as a file."""

from __future__ import annotations

import json
from pathlib import Path

from pcvr.teaching.core import exercises, results
from pcvr.utils.files import write_text
from pcvr.utils.versions import versions


def hand_in(notebook: str, folder: Path | str = ".") -> str:
    """Write the results of the checks that ran in this kernel to ``NOTEBOOK.results.json``, and return what is there.

    The file is no proof: anyone can edit it. A teacher who wants to be sure runs the checks again
    (``python tools/course.py grades --rerun``).

    Args:
        notebook: name for the file, such as ``"02_poisoning"``.
        folder: where the file goes.

    Returns:
        One line for each check, and the name of the file.
    """
    found = {
        name: {"title": exercises()[name], "status": result.status, "message": result.message}
        for name, result in results().items()
    }
    file = Path(folder) / f"{notebook}.results.json"
    content = {"notebook": notebook, "versions": versions(), "exercises": found}
    write_text(file, json.dumps(content, indent=1, ensure_ascii=False) + "\n")
    lines = [f"{each['title']}: {each['status']}" for each in found.values()] or ["No check has run in this kernel."]
    return "\n".join([*lines, f"Written to {file}"])
