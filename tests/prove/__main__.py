"""``make prove``. The servers are forked off this program, and import nothing of it but this."""

from __future__ import annotations

import sys

if __name__ == "__main__":
    from tests.prove.command import main

    sys.exit(main())
