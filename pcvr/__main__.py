"""``python -m pcvr`` is the command ``pcvr``."""

from pcvr.cli import main

if __name__ == "__main__":
    main()
