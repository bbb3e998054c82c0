"""`python -m grok_lightning` is the same program as `lightning` and `grok-lightning`."""

import sys

from grok_lightning.cli import main

if __name__ == "__main__":
    sys.exit(main())
