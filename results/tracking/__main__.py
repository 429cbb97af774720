"""``python -m results.tracking``: the process that a driver starts beside itself."""

import os
import sys

from results.tracking.process import main

if __name__ == "__main__":
    os.nice(10)
    sys.exit(main())
