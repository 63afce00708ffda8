"""``python -m diffuser_fast.cli``."""

import sys

from . import main

sys.exit(main())
