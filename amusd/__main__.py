"""`python -m amusd` is the command `amusd`."""

import sys

from amusd.cli import main

sys.exit(main())
