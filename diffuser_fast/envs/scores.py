"""D4RL's reference returns, and the normalised score every paper of this family reports.

score = 100 * (return - low) / (high - low), where `low` is a random and `high` an expert policy's mean return
(Fu et al. 2020, D4RL, section 5). The numbers are those of D4RL's v1 mazes and its MuJoCo bodies (all data
sets of a body share one pair). Multi2D is Maze2D with a random target and borrows its references, as the
Diffuser paper does.
"""

from . import names

REFERENCE_RETURNS = {  # (low, high)
    "maze2d-umaze": (23.85, 161.86),
    "maze2d-medium": (13.13, 277.39),
    "maze2d-large": (6.7, 273.99),
    "halfcheetah": (-280.178953, 12135.0),
    "hopper": (-20.272305, 3234.3),
    "walker2d": (1.629008, 4592.3),
}


def reference_returns(env_id: str) -> tuple[float, float]:
    """(low, high) returns of `env_id`, in any spelling `names.parse` knows; ValueError for others."""
    name = names.parse(env_id)
    if name.family in names.MAZE_FAMILIES:
        return REFERENCE_RETURNS[f"maze2d-{name.variant}"]
    return REFERENCE_RETURNS[name.family]


def normalized_score(env_id: str, ret: float) -> float:
    """One episode's return (or a mean, or an array of them) on a scale where 0 is random and 100 expert."""
    low, high = reference_returns(env_id)
    return 100.0 * (ret - low) / (high - low)
