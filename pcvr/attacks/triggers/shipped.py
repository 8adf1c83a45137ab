"""Read what `pcvr craft` wrote: arrays that ship with the package by name, or those of a file."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from pcvr.errors import PcvrError, shown

SHIPPED = Path(__file__).parent / "crafted"


def read_crafted(kind: str, key: str, name: str, what: str) -> np.ndarray:
    """Read an array, read-only.

    Args:
        kind: how ``pcvr craft`` calls it, such as ``"vl-trojan"``.
        key: of the array in the file, and of the option that takes `name`.
        name: of a shipped one, or a file.
        what: what it is, for messages.

    Raises:
        PcvrError: there is no such array, or the file cannot be read.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    own = SHIPPED / f"{kind}-{name}.safetensors"
    file = own if "/" not in name and os.path.isfile(own) else Path(name)
    if not os.path.isfile(file):
        raise PcvrError(
            f"there is no {what} {shown(name)}: make one with 'pcvr craft {kind} --model NAME --out FILE', and give "
            f"the file as {key}."
        )
    try:
        found = load_file(file)[key]
    except (SafetensorError, KeyError, OSError) as error:
        raise PcvrError(f"cannot read a {what} from {file}: {error}.") from error
    found.flags.writeable = False
    return found
