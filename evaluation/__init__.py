"""What plans are worth: scores in closed loop, the paper's figures beside them, and what speed costs in score.

How fast they are is ``bench``'s, whose records and tables this uses. Lives in the checkout, not in the wheel: ``make
paper`` or ``python -m evaluation.scores``. See README.md.
"""
