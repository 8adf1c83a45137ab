"""``python -m pcvr`` is the command ``pcvr``."""

from pcvr.cli import main

main()
