"""`python -m soulwatch` is the command `soulwatch`."""

import sys

from soulwatch.cli import main

if __name__ == "__main__":
    sys.exit(main())
