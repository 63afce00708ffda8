"""A few pick-and-places for the tests of stacking, recorded once a session."""

import functools

import numpy as np

from diffuser_fast.control import pick_and_place
from diffuser_fast.envs import stacking


@functools.cache
def scene():
    """The environment; a second one costs a second."""
    return stacking.Scene()


@functools.cache
def placements():
    """Some that succeeded: (function that goes back to the beginning, cube, place, states)."""
    found, number = [], 0
    while len(found) < 12:
        rng = np.random.default_rng([20_000, number])
        number += 1
        state = scene().reset(rng, towers=True)
        for _ in range(pick_and_place.IN_A_ROW):
            cube, place = pick_and_place.choose(state, rng)
            back = scene().snapshot()
            states = pick_and_place.move(scene(), cube, place, rng)
            if not pick_and_place.placed(states, cube, place):
                break
            found.append((back, cube, place, states))
            state = states[-1]
    return found[:12]
