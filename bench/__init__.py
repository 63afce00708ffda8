"""The benchmark ladder: named workloads, our engines beside their peers, rows that are only ever appended.

Lives in the checkout, not in the wheel: ``make bench``, ``diffuser-fast bench`` or ``python -m bench``. See README.md.
"""
