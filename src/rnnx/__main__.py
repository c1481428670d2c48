"""``python -m rnnx`` is the command ``rnnx``."""

import sys

from rnnx.cli import main

sys.exit(main())
