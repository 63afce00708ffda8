"""The benchmark suite: named workloads, our engines beside their peers, records that are only ever appended.

Lives in the checkout, not in the wheel: ``make bench``, ``diffuser-fast bench`` or ``python -m bench``. See README.md.
"""

from pathlib import Path

import diffuser_fast

# Without an installation, as on a GPU for an hour: ``kernels/`` of the checkout is ``diffuser_fast.kernels``.
diffuser_fast.__path__.append(str(Path(__file__).resolve().parents[1]))
