"""Leave suspicious records out of a JSON before LLaMA-Factory or ms-swift trains on it.

python examples/llama_factory_keep_list.py --model llava-hf/llava-1.5-7b-hf --data data.json

For LLaMA-Factory, add the printed entry to dataset_info.json; for ms-swift, give the new file as --dataset.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

import pcvr


def main(argv: Sequence[str] | None = None) -> Path:
    """Scan the records, write those that are kept beside them, and return the path."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="folder or hub id of the model that will be fine-tuned")
    parser.add_argument("--data", required=True, type=Path, help="JSON of records, images beside it")
    parser.add_argument("--adapter", help="folder of an adapter that was trained on the data already")
    given = parser.parse_args(argv)
    report = pcvr.scan(pcvr.load(given.model, adapter=given.adapter), dataset=given.data, progress=True)
    kept = report.keep_list(given.data)
    print(report)
    entry = {"file_name": kept.name, "formatting": "sharegpt", "columns": {"messages": "messages", "images": "images"}}
    entry["tags"] = {"role_tag": "role", "content_tag": "content", "user_tag": "user", "assistant_tag": "assistant"}
    print(json.dumps({kept.stem: entry}, indent=2))
    return kept


if __name__ == "__main__":
    main()
