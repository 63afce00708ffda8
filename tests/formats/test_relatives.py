"""Checkpoints of the original's relatives plan as their libraries do: the oracle samples from the same files' weights.

Networks have random weights; each variant turns something that a library lets its users choose.
"""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from formats import relatives, relatives_conditional

import diffuser_fast as dfx
from diffuser_fast.formats import load, save

VARIANTS = {
    "diffusers": (relatives.diffusers, {}),
    "diffusers, its own defaults": (
        relatives.diffusers,
        {"flip": True, "shift": 0, "act": "silu", "groups": 4, "variance_type": "fixed_small",
         "prediction_type": "epsilon", "clip_sample": True, "clip_sample_range": 1.5},
    ),
    "diffusers, linear betas, three levels": (
        relatives.diffusers, {"levels": (16, 32, 64), "horizon": 16, "beta_schedule": "linear", "n_train": 8},
    ),
    "cleandiffuser": (relatives.cleandiffuser, {}),
    "cleandiffuser, noise, clipped, other widths, fewer steps": (
        relatives.cleandiffuser,
        {"levels": (24, 48), "width": 16, "kernel": 3, "attention": True, "predict_noise": True, "clip": 1.5,
         "n_train": 20, "n_steps": 5, "scale": 1.5, "temperature": 1.0},
    ),
    "cleandiffuser, unguided ddim": (
        relatives.cleandiffuser,
        {"guided": False, "solver": "ddim", "n_train": 20, "n_steps": 5, "levels": (16, 32, 64)},
    ),
    "cleandiffuser, continuous": (
        relatives.cleandiffuser,
        {"guided": False, "continuous": True, "predict_noise": True, "clip": 2.0, "solver": "ode_dpmsolver++_2M",
         "n_steps": 6},
    ),
    "decision_diffuser": (relatives.decision_diffuser, {}),
    "decision_diffuser, actions in the trajectory": (
        relatives.decision_diffuser, {"inverse": False, "weight": 2.0, "levels": (16, 32, 32), "kernel": 3},
    ),
    "decision_diffuser, without returns": (relatives.decision_diffuser, {"told": False}),
    "decision_diffuser, one branch": (relatives.decision_diffuser, {"weight": 1.0}),
    "diffusion_policy": (relatives_conditional.diffusion_policy, {}),
    "diffusion_policy, inpainting, no FiLM": (
        relatives_conditional.diffusion_policy,
        {"inpainting": True, "film": False, "groups": 4, "kernel": 3, "levels": (32, 48), "n_train": 12, "n_steps": 4,
         "beta_schedule": "linear", "variance_type": "fixed_small_log", "prediction_type": "sample",
         "clip_sample": False},
    ),
    "diffusion_policy, a local condition": (
        relatives_conditional.diffusion_policy,
        {"local": True, "kernel": 3, "groups": 4, "prediction_type": "sample", "n_train": 12},
    ),
    "diffusion_policy, a local condition, no FiLM": (
        relatives_conditional.diffusion_policy, {"local": True, "film": False, "levels": (16, 32, 64)},
    ),
    "diffusion_policy, executed actions alone": (relatives_conditional.diffusion_policy, {"short": True}),
    "kuka": (relatives.kuka, {}),
    "kuka, two times given, three levels": (relatives.kuka, {"times": (0, 5), "levels": (16, 32, 48), "horizon": 16}),
    "kuka, told by a channel alone, no attention": (relatives.kuka, {"told": False, "mixed": False, "times": (3,)}),
    "lerobot": (relatives_conditional.lerobot, {}),
    "lerobot, DDIM, MEAN_STD, bias alone, images": (
        relatives_conditional.lerobot,
        {"film": False, "groups": 4, "kernel": 3, "ddim": True, "n_train": 20, "n_steps": 5,
         "prediction_type": "sample",
         "clip_sample_range": 1.2, "modes": {"STATE": "MEAN_STD", "ACTION": "MEAN_STD", "ENV": "MIN_MAX"}, "images": 4},
    ),
    "lerobot, statistics in the model's file": (
        relatives_conditional.lerobot, {"old": True, "ddim": True, "n_steps": 3},
    ),
}  # fmt: skip


@pytest.fixture(scope="module", params=VARIANTS)
def relative(request, tmp_path_factory):
    torch.set_grad_enabled(True)
    make, options = VARIANTS[request.param]
    return make(tmp_path_factory.mktemp("relative") / "a", **options)


def loaded(relative, folder=None):
    facts = dict(relative.facts)
    if relative.statistics:
        facts["normalizer"] = relative.folder / "stats.json"
        facts["normalizer"].write_text(json.dumps(relative.statistics))
    return load(folder or relative.folder, **facts)


def planned(checkpoint, relative, backend, precision="float32", **arguments):
    planner = dfx.Planner(checkpoint, backend, batch_size=relative.tape.shape[1], precision=precision, threads=1)
    if checkpoint.observes_condition:
        return planner.plan({}, noise=relative.tape, condition=relative.observation, **arguments)
    return planner.plan(given(relative, checkpoint), noise=relative.tape, condition=relative.condition, **arguments)


def given(relative, checkpoint):
    """Conditions, where observations are part of plans."""
    if checkpoint.observes_condition:
        return {}
    times = range(checkpoint.acting.history) if relative.times is None else relative.times
    return dict(zip(times, relative.observation.reshape(len(times), -1), strict=True))


@pytest.mark.parametrize(("backend", "precision"), [("reference", "float64"), ("cpu", "float32")])
def test_the_same_plans(relative, backend, precision):
    """In float64 what is left are float32 coefficients and time tables; float32 may lose the usual hundredfold."""
    if backend == "cpu":
        pytest.importorskip("diffuser_fast._cpu")
    found, limit = planned(loaded(relative), relative, backend, precision), 1e-5 if precision == "float64" else 1e-4
    for name, expected in relative.plan().items():
        error = np.abs(getattr(found, name) - expected).max()
        assert error <= limit * max(np.abs(expected).max(), 1e-3), (name, error, np.abs(expected).max())


def test_a_native_copy_plans_the_same(relative, tmp_path):
    checkpoint = loaded(relative)
    again = load(save(checkpoint, tmp_path / "a.safetensors"))
    assert again.sampling == checkpoint.sampling and again.acting == checkpoint.acting
    one, other = (planned(c, relative, "reference") for c in (again, checkpoint))
    for name in ("actions", "observations", "values"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))


def test_seeded_plans_are_the_engines_own_noise(relative):
    """Without a tape the same numbers are drawn, whatever scales the first of them."""
    checkpoint = loaded(relative)
    planner = dfx.Planner(checkpoint, "reference", batch_size=2, seed=3)
    condition = relative.observation if checkpoint.observes_condition else relative.condition
    conditions = given(relative, checkpoint)
    found = planner.plan(conditions, condition=condition)
    from diffuser_fast.core.noise import draw

    shape = (2, planner.horizon, checkpoint.unet.spec.transition_dim)
    tape = np.stack([draw(3, 0, entry, *shape) for entry in range(planner.loop.rows + 1)])
    again = planner.plan(conditions, noise=tape, condition=condition)
    for name in ("actions", "observations"):
        np.testing.assert_allclose(getattr(again, name), getattr(found, name), rtol=0, atol=1e-6)


def test_no_engine_knows_who_trained_a_network():
    """What a library means is decided where its files are read."""
    root, names = Path(dfx.__file__).parent, r"diffusers\b|lerobot|cleandiffuser|diffusion_policy|decision.?diffuser"
    top = root.parent
    sources = [*(root / "core").rglob("*.py"), *(root / "backends").rglob("*.py"), *(top / "kernels").glob("*.py")]
    sources += [path for path in (top / "csrc").rglob("*") if path.suffix in (".h", ".cc")]
    assert len(sources) > 60
    found = [path.name for path in sources if re.search(names, path.read_text(encoding="utf-8"), re.IGNORECASE)]
    assert not found
