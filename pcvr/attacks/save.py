"""Write poisoned data with their manifest and checksums, in a form of `pcvr.data.export`; atomic and resumable."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pcvr.attacks.checksums import MANIFEST, SUMS, Journal
from pcvr.attacks.poison import PoisonedDataset
from pcvr.data.export import FORMS
from pcvr.errors import PcvrError
from pcvr.utils.checks import check_choice
from pcvr.utils.files import NotWritten, beside, cannot_write, new_folder, refuse_existing, settle, write_json
from pcvr.utils.places import alone, check_place

_PLAN = "plan.json"


def save_poisoned(
    dataset: PoisonedDataset, folder: str | Path, truth: bool = False, form: str = "llava", progress: bool = True
) -> Path:
    """Write ``dataset`` to a new ``folder``, which is built under another name and renamed when complete.

    An interrupted call leaves a hidden folder ``.NAME.part`` beside it; the same call resumes from the intact images
    there. While one call writes `folder`, a second one is refused.

    Args:
        dataset: from :func:`pcvr.attacks.poison`.
        folder: must not exist yet.
        truth: whether references and facts are written too. They reveal the poison (a poisoned answer contradicts the
            facts, and it has one reference where others have five), and no trainer reads them.
        form: ``"llava"`` (JSON and PNG files for LLaVA, LLaMA-Factory, ms-swift and ``datasets.load_dataset``, see
            `pcvr.data.forms`) or ``"datasets"`` (a folder for ``datasets.load_from_disk``).
        progress: whether to show a bar once writing takes longer than two seconds.

    Returns:
        The folder's path.

    Raises:
        PcvrError: the folder exists, another process writes it, it cannot be written (no space or permission), an
            unrelated ``.NAME.part`` is in the way, or the form is unknown.
    """
    check_choice("form of poisoned data", form, FORMS)
    target = Path(folder)
    check_place(target)
    part = beside(target, ".part")
    plan = {"data": dataset.fingerprint(), "poison": dataset.manifest.sha256, "truth": truth, "form": form}
    with alone(target):
        refuse_existing(target)  # the process that held the lock may have made it
        _ready(part, plan)
        made = part / "folder"
        try:
            made.mkdir(exist_ok=True)
            journal = Journal(made, part / "written.txt")
            FORMS[form](dataset, made, journal.put, truth, progress, dataset)
            (made / MANIFEST).write_text(dataset.manifest.to_json() + "\n", encoding="utf-8")
            (made / SUMS).unlink(missing_ok=True)
            (made / SUMS).write_text(journal.text(), encoding="utf-8", newline="\n")
            settle(made)
        except OSError as problem:
            shutil.rmtree(part, ignore_errors=True)
            raise cannot_write(target, problem) from problem
        except PcvrError:
            shutil.rmtree(part, ignore_errors=True)
            raise
        refuse_existing(target)  # made meanwhile; the finished part stays for another call
        os.replace(made, target)
        shutil.rmtree(part, ignore_errors=True)
    return target


def _ready(part: Path, plan: Mapping[str, Any]) -> None:
    """Make a scratch folder, unless an interrupted call with the same plan left one.

    Raises:
        PcvrError: a folder of that name was not made by such a call.
    """
    try:
        found = json.loads((part / _PLAN).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        found = None
    if found == plan:
        return
    if os.path.lexists(part):
        if part.is_symlink() or not isinstance(found, dict) or set(found) != set(plan):
            raise NotWritten(f"{part} is in the way and was not made by this tool", "move it away")
        shutil.rmtree(part, ignore_errors=True)
    with new_folder(part) as scratch:
        write_json(scratch / _PLAN, plan)
