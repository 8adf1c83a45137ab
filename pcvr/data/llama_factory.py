"""``dataset_info.json`` as LLaMA-Factory has it: the data files of a folder, and the columns of each.

``datasets`` gives a file of this name another meaning: the description of a table. There the values are not all
objects that name a file.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

INFO = "dataset_info.json"


def named_files(folder: Path) -> list[str]:
    """Return the files in `folder` that LLaMA-Factory's description names; none if there is no such description."""
    try:
        content: Any = json.loads((folder / INFO).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return []
    entries = content.values() if isinstance(content, dict) else ()
    names = [entry.get("file_name") if isinstance(entry, dict) else None for entry in entries]
    if not all(isinstance(name, str) for name in names):
        return []
    return [str(name) for name in names if Path(str(name)).name == name and (folder / str(name)).is_file()]


def description(name: str, file: str) -> dict[str, Any]:
    """Return the description of one file of `messages` with `images`, for :data:`INFO`.

    Args:
        name: what LLaMA-Factory's option ``dataset`` calls it.
        file: its name in the folder.
    """
    tags = {"role_tag": "role", "content_tag": "content", "user_tag": "user", "assistant_tag": "assistant"}
    return {
        name: {
            "file_name": file,
            "formatting": "sharegpt",
            "columns": {"messages": "messages", "images": "images"},
            "tags": {**tags, "system_tag": "system"},
        }
    }
