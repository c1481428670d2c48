"""rnnx against a well-written NumPy loop; the same as ``rnnx bench``. Options: ``--profile tiny``, ``--json FILE``."""

import sys

from rnnx._bench.against_numpy import main

sys.exit(main(sys.argv[1:]))
