"""Drop-in: a policy object of the original code keeps its call and its return value, and becomes fast.

Run it where the original's code and a trained checkpoint are; ``policy`` is what its plan_guided.py builds.
"""

import diffuser_fast as dfx


def accelerated(policy):
    """The same plans as ``policy`` under the same torch seed."""
    return dfx.accelerate(policy, noise="torch")
