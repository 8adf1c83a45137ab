"""The way in and out of a command: what a terminal cannot show, an interruption, and a reader that went away."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from pcvr.errors import PcvrError

INTERRUPTED = 130
"""Exit code after Ctrl-C, as shells have it: 128 and the number of SIGINT."""


def run_command(main: Callable[[], object], name: str = "") -> NoReturn:
    """Run a command as a process: `main` reads its arguments, and imports what is heavy.

    Characters that the terminal's encoding does not have are written as escapes; what the user can put right is one
    sentence and exit code 2; Ctrl-C is one line and exit code 130; a closed pipe (``| head``) ends it without a word.

    Args:
        main: gives the exit code, or None.
        name: what the command calls itself; by default its file.
    """
    name = name or Path(sys.argv[0]).stem
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # notebooks and tests put other objects there
            stream.reconfigure(errors="backslashreplace")
    code: object
    try:
        code = main()
        sys.stdout.flush()
    except PcvrError as problem:
        code = 2
        sys.stderr.write(f"{name}: {problem}\n")
    except BrokenPipeError:
        code = 1
        # Python flushes once more at its end, which would fail again and say so.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except KeyboardInterrupt:
        code = INTERRUPTED
    except SystemExit as end:
        code = end.code
    if code == INTERRUPTED:
        sys.stderr.write(f"\n{name}: interrupted.\n")
    raise SystemExit(code)
