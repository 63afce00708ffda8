"""What a planner says when something is wrong: one sentence that names the argument, before any work is done."""

import re
from dataclasses import replace
from functools import cache

import numpy as np
import pytest

import diffuser_fast as dfx
from diffuser_fast import conformance as c
from diffuser_fast.core.spec import UNetSpec, ValueSpec

BACKENDS = sorted({target.backend for target in c.targets()})
H, A, O, T = 8, 2, 4, 6


@cache
def checkpoint(guided=True):
    """Two levels, horizon 8, two actions, four observations, six training steps."""
    value = ValueSpec(H, A + O, dim=16, dim_mults=(1, 8)) if guided else None
    return c.random_checkpoint(UNetSpec(H, A + O, dim=16, dim_mults=(1, 2)), value, action_dim=A, n_train=T)


def planner(backend="reference", guided=True, **options):
    return dfx.Planner(checkpoint(guided), backend, **{"batch_size": 3, "threads": 1, **options})


def obs(seed=0, *lead):
    return np.random.default_rng(seed).normal(0, 2, (*lead, O))


def bad(index, number):
    """An observation with one number that is wrong."""
    array = obs()
    array[index] = number
    return array


def test_a_call_that_fails_draws_nothing():
    one, fresh = planner(), planner()
    with pytest.raises(ValueError, match="conditions"):
        one.plan({99: obs()})
    np.testing.assert_array_equal(one.plan({0: obs()}).actions, fresh.plan({0: obs()}).actions)


@pytest.mark.parametrize(
    ("shape", "found"),
    [
        ((T - 1, 3, H, A + O), "[5, 3, 8, 6]"),
        ((T + 1, 4, H, A + O), "[7, 4, 8, 6]"),
        ((T + 1, 3, H, A), "[7, 3, 8, 2]"),
        ((T + 1, 3, 2 * H, A + O), "[7, 3, 16, 6]"),
        ((3, H, A + O), "[3, 8, 6]"),
    ],
)
def test_a_tape_of_the_wrong_shape(shape, found):
    sentence = f"noise: expected a tape of shape [7, 3, 8, 6], found {found}"
    with pytest.raises(ValueError, match=f"^{re.escape(sentence)}$"):
        planner().plan({0: obs()}, noise=np.zeros(shape))


def test_a_tape_that_is_not_finite():
    noise = np.zeros((T + 1, 3, H, A + O))
    noise[2, 1, 3, 0] = np.inf
    with pytest.raises(ValueError, match="noise: the tape holds numbers that are not finite"):
        planner().plan({0: obs()}, noise=noise)


@pytest.mark.parametrize(
    ("conditions", "error", "sentence"),
    [
        ({0: np.zeros(3)}, ValueError, r"\[0\]: expected an observation of shape \[4\] or \[E, 4\], found \[3\]"),
        ({0: np.zeros((2, 2, 4))}, ValueError, r"conditions\[0\]: expected an observation of shape"),
        ({0: 1.0}, ValueError, r"conditions\[0\]: expected an observation of shape"),
        ({0: np.zeros((0, 4))}, ValueError, r"conditions\[0\]: expected an observation"),
        ({-2: bad(1, np.nan)}, ValueError, r"conditions\[-2\]: expected finite numbers, found nan at index \[1\]"),
        ({0: bad(3, np.inf)}, ValueError, r"conditions\[0\]: expected finite numbers, found inf"),
        ({0: {2: np.nan}}, ValueError, r"conditions\[0\]\[2\]: expected finite numbers"),
        ({0: {4: 1.0}}, ValueError, r"conditions\[0\]: dimension 4 is not one of 0 .. 3"),
        ({0: {"x": 1.0}}, ValueError, r"conditions\[0\]: dimension 'x' is not one of"),
        ({0: "here"}, TypeError, r"conditions\[0\]: expected numbers, found str"),
        ({8: obs()}, ValueError, r"conditions: time 8 is outside the horizon 8"),
        ({-9: obs()}, ValueError, r"conditions: time -9 is outside the horizon 8"),
        ({0.5: obs()}, ValueError, r"conditions: key 0.5 is not a whole number"),
        ({"0": obs()}, ValueError, r"conditions: key '0' is not a whole number"),
        ({7: obs(), -1: obs()}, ValueError, r"conditions: keys \[-1, 7\] name the same time twice"),
        ({0: obs(0, 2), 3: obs(0, 3)}, ValueError, r"different numbers of situations: \[2, 3\]"),
        (obs(), TypeError, r"conditions: expected a mapping \{t: observation\}, found ndarray"),
    ],
)  # fmt: skip
def test_conditions_that_make_no_sense(conditions, error, sentence):
    with pytest.raises(error, match=sentence):
        planner().plan(conditions)


def test_horizons_that_cannot_be():
    with pytest.raises(ValueError, match=r"horizon: the value network was trained for 8, found 16.*guide=None"):
        planner(horizon=16)
    with pytest.raises(ValueError, match="horizon: the value network was trained for 8, found 16"):
        planner().plan({0: obs()}, horizon=16)
    with pytest.raises(ValueError, match=r"horizon: 9 is not a multiple of 2.* the nearest are 8 and 10"):
        planner(guide=None, horizon=9)
    for horizon in (0, -8, 8.0, True):
        with pytest.raises(ValueError, match="horizon: found"):
            planner(guide=None, horizon=horizon)
    with pytest.raises(ValueError, match="conditions: time 8 is outside the horizon 4"):
        planner(guide=None).plan({8: obs()}, horizon=4)


def test_guides_that_cannot_be():
    with pytest.raises(
        ValueError, match=r"guide: the checkpoint has no value network \(load\(path, value=...\) adds one"
    ):
        planner(guided=False, guide=dfx.Guide())
    with pytest.raises(ValueError, match="guide: the checkpoint has no value network"):
        planner(guided=False, guide=dfx.Guide(n_steps=0))
    for guide in ("none", 0.1, True):
        with pytest.raises(TypeError, match="guide: expected 'auto', None or a Guide, found"):
            planner(guide=guide)
    for options in ({"scale": np.nan}, {"n_steps": -1}, {"n_steps": 1.5}, {"t_stopgrad": -1}, {"scale": "0.1"}):
        with pytest.raises(ValueError, match=f"{next(iter(options))}: found"):
            dfx.Guide(**options)


def test_act_refuses_what_is_not_an_observation():
    one = planner()
    with pytest.raises(ValueError, match=r"obs: expected shape \[4\], found \[1, 4\]"):
        one.act(obs(0, 1))
    with pytest.raises(ValueError, match=r"conditions: time 0 is obs"):
        one.act(obs(), {0: obs()})
    for number in (np.nan, np.inf):
        with pytest.raises(ValueError, match="expected finite numbers"):
            one.act(bad(0, number))


def test_warm_starts_that_cannot_be():
    for value in (0, T + 1, -1, 1.0, True):
        with pytest.raises(ValueError, match=r"warm_start: found .*, expected a whole number from 1 to 6"):
            planner(warm_start=value)
    with pytest.raises(ValueError, match="warm: the planner was made without warm_start"):
        planner().plan({0: obs()}, warm=True)


@pytest.mark.parametrize(
    ("options", "error", "sentence"),
    [
        (
            {"backend": "tpu"},
            ValueError,
            "backend: found 'tpu', expected 'auto' or one of cpu, triton, cuda, refer",
        ),
        ({"backend": "triton"}, ValueError, "backend: 'triton' cannot run here: "),
        ({"backend": "cuda"}, ValueError, "backend: 'cuda' cannot run here: "),
        (
            {"device": "no-such-device"},
            ValueError,
            "backend: 'reference' cannot run here: torch cannot use device 'no-such",
        ),
        ({"precision": "fp8"}, ValueError, "precision: the reference backend has float32, float64, found 'fp8'"),
        ({"sampler": "euler"}, ValueError, "sampler: found 'euler', expected one of ddpm, ddim, dpm_solver_pp_2m"),
        ({"eta": 0.5}, ValueError, "sampler: ddpm takes no eta"),
        ({"sampler": "ddim", "eta": 2.0}, ValueError, "eta: found 2.0, expected a number from 0 to 1"),
        ({"n_steps": 0}, ValueError, "n_steps: found 0, expected a whole number from 1 to 6"),
        ({"n_steps": 7}, ValueError, "n_steps: found 7"),
        ({"n_steps": 2.5}, ValueError, "n_steps: found 2.5"),
        ({"batch_size": 0}, ValueError, "batch_size: found 0, expected a whole number from 1 to"),
        ({"batch_size": 2.0}, ValueError, "batch_size: found 2.0"),
        ({"batch_size": True}, ValueError, "batch_size: found True"),
        ({"threads": 0}, ValueError, "threads: found 0, expected a whole number from 1 to"),
        ({"threads": "2"}, ValueError, "threads: found '2'"),
        ({"seed": -1}, ValueError, "seed: found -1, expected a whole number from 0 to 18446744073709551615"),
        ({"seed": 2**64}, ValueError, "seed: found 18446744073709551616"),
        ({"seed": None}, ValueError, "seed: found None"),
        ({"clip_scope": "row"}, ValueError, "clip_scope: found 'row', expected 'plan' or 'array'"),
    ],
)
def test_options_that_make_no_sense(options, error, sentence):
    with pytest.raises(error, match=sentence):
        planner(**{"backend": "reference", **options})


def test_checkpoints_that_cannot_be_planned_with():
    with pytest.raises(ValueError, match=r"no normaliser statistics.*load\(path, normalizer='stats.json'\) adds them"):
        dfx.Planner(replace(checkpoint(), normalizers=None))
    with pytest.raises(TypeError, match=r"checkpoint: expected what load\(\) returns, found str"):
        dfx.Planner("hopper")


@pytest.mark.parametrize("count", [0, 2.0, None, True])
def test_a_batch_size_of_a_call_is_checked(count):
    if count is None:
        assert len(planner().plan({}, batch_size=None).actions) == 3
        return
    with pytest.raises(ValueError, match="batch_size: found"):
        planner().plan({}, batch_size=count)


@pytest.mark.skipif("cpu" not in BACKENDS, reason="the C++ engine cannot run here")
def test_refusals_of_the_cpu_engine():
    with pytest.raises(ValueError, match="precision: the cpu backend has float32, float32-close, bf16, int8, found"):
        planner("cpu", precision="float64")
    with pytest.raises(
        ValueError, match=r"backend: 'cpu' cannot run here: the C\+\+ engine runs on the CPU, not on 'cuda'"
    ):
        planner("cpu", device="cuda")
    assert planner("auto").backend == "cpu"


@pytest.mark.parametrize("backend", BACKENDS)
def test_weights_that_blow_up_are_named_by_their_denoising_step(backend):
    """Finite in themselves, but the plan is not: at once, or where only the value is not."""
    arrays = dict(checkpoint().unet.arrays)
    arrays["head.out.weight"] = np.full_like(arrays["head.out.weight"], 3e38)
    broken = replace(checkpoint(), unet=replace(checkpoint().unet, arrays=arrays))
    with pytest.raises(FloatingPointError, match=r"denoising step 0 \(t = 5\): the plan is no longer finite"):
        dfx.Planner(broken, backend, batch_size=2, guide=None, threads=1).plan({0: obs()})
    arrays = dict(checkpoint().value.arrays)
    arrays["head.linear2.weight"] = np.full_like(arrays["head.linear2.weight"], 3e38)
    broken = replace(checkpoint(), value=replace(checkpoint().value, arrays=arrays))
    one = dfx.Planner(broken, backend, batch_size=2, guide=dfx.Guide(n_steps=0), threads=1)
    with pytest.raises(FloatingPointError, match=r"denoising step 5 \(t = 0\): the value of a plan is not finite"):
        one.plan({0: obs()})
