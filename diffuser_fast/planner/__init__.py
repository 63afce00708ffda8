"""From conditions to a ranked set of plans, and from a plan to an action."""

from .planner import CLASSES, GUIDED_BATCH, Planner
from .plans import Calibration, Plans, Replay

__all__ = ["CLASSES", "GUIDED_BATCH", "Calibration", "Planner", "Plans", "Replay"]
