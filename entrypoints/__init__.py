"""Settings, wiring and the commands."""

import sys

if sys.platform == "win32":
    # Before anything is imported that is not there: it would say less.
    sys.exit("synkrone-socket: Windows is not supported: run it on Linux, in WSL 2 or in a container")
