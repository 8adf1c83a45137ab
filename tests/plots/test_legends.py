"""Every legend says where it goes."""

from __future__ import annotations

import ast
from pathlib import Path


def test_no_legend_searches_its_place_unasked(root: Path) -> None:
    """Without a place matplotlib searches one, and on a busy machine it warns that this takes long."""
    for file in (root / "pcvr" / "plots").glob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "legend":
                assert "loc" in {keyword.arg for keyword in node.keywords}, f"{file.name}:{node.lineno}: give loc"
