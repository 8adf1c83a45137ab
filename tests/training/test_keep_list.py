"""The list of records that stay, in the form that the reader sees."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from pcvr.training.keep_list import write_keep_list


def test_json_lines_in_a_file_named_json(tmp_path: Path) -> None:
    turns = [{"from": "human", "value": "<image>\nwhat?"}, {"from": "gpt", "value": "a cat"}]
    records = [{"id": f"a{i}", "image": f"{i}.png", "conversations": turns} for i in range(3)]
    source = tmp_path / "train.json"
    source.write_text("".join(json.dumps(each) + "\n" for each in records))
    flagged = np.array([False, True, False])
    target = write_keep_list(source, None, ["a0", "a1", "a2"], flagged, positions=False)
    assert target.name == "train.kept.json"
    assert [json.loads(line)["id"] for line in target.read_text().splitlines()] == ["a0", "a2"]
