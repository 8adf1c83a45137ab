"""Measure time and memory of reading the COCO captions of 100,000 images, and compare them with the plain way.

    python benchmarks/readers.py            # about a minute on two cores
    python benchmarks/readers.py --n 20000 --repeats 1

Both ways check that every image exists. Each reading has its own process. Print medians and write build/readers.json.
Seconds are of the clock and of the processor; on a busy machine the processor's are more reliable.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from pcvr.utils.files import write_json
from pcvr.utils.terminal import run_command
from pcvr.utils.versions import versions

CAPTIONS = 5
WORDS = ("a man", "a dog", "two people", "a red bus", "an open book", "the kitchen table", "a tall building")
FROM = ("in front of", "next to", "behind", "on top of", "far away from")
LINKS = 30_000  # a file system allows some ten thousand names for one file

# `before` is what the interpreter and NumPy take in any program.
MEASURE = """
import json, resource, sys, time
import numpy
{imports}
def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)
before, clock, processor = peak(), time.perf_counter(), time.process_time()
{read}
print(json.dumps([time.perf_counter() - clock, time.process_time() - processor, peak() - before, len(data)]))
"""

READ = {
    "pcvr": ("from pcvr.data.coco import CocoCaptions", "data = CocoCaptions(sys.argv[1], sys.argv[2])"),
    "json.load, a list of dicts, os.path.isfile": (
        "import os",
        """
with open(sys.argv[1], encoding="utf-8") as stream:
    content = json.load(stream)
captions = {}
for each in content["annotations"]:
    captions.setdefault(each["image_id"], []).append(each["caption"].strip())
data = []
for image in content["images"]:
    path = os.path.join(sys.argv[2], image["file_name"])
    if not os.path.isfile(path):
        raise SystemExit(f"{path} is missing")
    data.append({"id": str(image["id"]), "path": path, "references": captions[image["id"]]})
""",
    ),
}


def write_many(folder: Path, n: int) -> Path:
    """Write COCO captions of `n` images, five each, with all fields of the published files, and names for the images.

    Args:
        folder: an empty folder; the JSON goes there, the names to ``val2014/`` in it.
        n: number of images.

    Returns:
        The path of the JSON.
    """
    images = folder / "val2014"
    images.mkdir(parents=True)
    path = folder / "captions_val2014.json"
    with path.open("w", encoding="utf-8") as stream:
        stream.write('{"info": {"year": 2014}, "images": [')
        for i in range(n):
            name = f"COCO_val2014_{7 * i + 3:012d}.jpg"
            if i % LINKS == 0:
                first = images / name
                first.write_bytes(b"not opened")
            else:
                os.link(first, images / name)
            about = f'"height": 480, "width": 640, "date_captured": "2013-11-14 17:02:52", "id": {7 * i + 3}'
            url = f"http://images.cocodataset.org/val2014/{name}"
            flickr = f"http://farm4.staticflickr.com/3153/{2970773875 + i}_164f0c0b83_z.jpg"
            entry = f'"license": 3, "file_name": "{name}", "coco_url": "{url}", {about}, "flickr_url": "{flickr}"'
            stream.write(f"{', ' if i else ''}{{{entry}}}")
        stream.write('], "licenses": [], "annotations": [')
        for k in range(CAPTIONS * n):
            caption = f"Picture {k % n} shows {WORDS[k % 7]} {FROM[k % 5]} {WORDS[(k // 7) % 7]}."
            entry = f'"image_id": {7 * (k % n) + 3}, "id": {k + 1}, "caption": "{caption}"'
            stream.write(f"{', ' if k else ''}{{{entry}}}")
        stream.write("]}")
    return path


def measure(name: str, path: Path) -> tuple[float, float, float]:
    """Return clock seconds, processor seconds and MiB of peak memory of one way to read `path`."""
    imports, read = READ[name]
    code = MEASURE.format(imports=imports, read=read)
    root = Path(__file__).resolve().parents[1]
    done = subprocess.run(
        [sys.executable, "-c", code, str(path), str(path.parent / "val2014")],
        cwd=root,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(done.stderr)
    clock, processor, grown, _ = json.loads(done.stdout)
    return clock, processor, grown


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, default=100_000, help="number of images")
    parser.add_argument("--repeats", type=int, default=3, help="readings of each kind; the median is printed")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        path = write_many(Path(scratch), options.n)
        size = path.stat().st_size / 2**20
        print(f"{options.n} images, {CAPTIONS * options.n} captions, {size:.0f} MiB of JSON")
        # In turns, so that other load on the machine affects all alike.
        runs: dict[str, list[tuple[float, float, float]]] = {name: [] for name in READ}
        for _ in range(options.repeats):
            for name in READ:
                runs[name].append(measure(name, path))
    found: dict[str, Any] = {}
    for name, taken in runs.items():
        clock, processor, grown = (statistics.median(values) for values in zip(*taken, strict=True))
        found[name] = {"seconds": clock, "processor_seconds": processor, "peak_mib": grown}
        print(f"{name:44}{clock:8.2f} s {processor:8.2f} s of the processor {grown:8.0f} MiB more at the peak")
    ours, plain = found.values()
    ratios = {key: plain[key] / ours[key] for key in ours}
    print(f"{'the plain way / pcvr':44}{ratios['seconds']:8.2f} x {ratios['processor_seconds']:8.2f} x", end="")
    print(f"{'':17}{ratios['peak_mib']:8.2f} x")
    meta = {"n": options.n, "mib": size, "repeats": options.repeats, "cores": os.cpu_count(), "versions": versions()}
    write_json(Path("build/readers.json"), {"found": found, "ratios": ratios, **meta})


if __name__ == "__main__":
    run_command(main)
