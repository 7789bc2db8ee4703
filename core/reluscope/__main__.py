"""`python -m reluscope`: the same as the command `reluscope`."""

from __future__ import annotations

from reluscope.cli import main

if __name__ == "__main__":
    main()
