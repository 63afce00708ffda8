"""A few pick-and-places for the tests of stacking, recorded once a session."""

import functools

import numpy as np

from diffuser_fast.control import pick_and_place
from diffuser_fast.envs import stacking


@functools.cache
def scene():
    """The environment; a second one costs a second."""
    return stacking.Scene()


def snapshot():
    """A function that puts the scene back to what it is now."""
    import mujoco

    model, data = scene().env.model, scene().env.data
    kind = mujoco.mjtState.mjSTATE_INTEGRATION
    kept = np.zeros(mujoco.mj_stateSize(model, kind))
    mujoco.mj_getState(model, data, kept, kind)

    def back():
        mujoco.mj_setState(model, data, kept, kind)
        mujoco.mj_forward(model, data)
        return scene().observed()

    return back


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
            back = snapshot()
            states = pick_and_place.move(scene(), cube, place, rng)
            if not pick_and_place.placed(states, cube, place):
                break
            found.append((back, cube, place, states))
            state = states[-1]
    return found[:12]
