"""Configurations of the original: what is taken from them, and what they may not contradict."""

from pathlib import Path

import numpy as np
import pytest
from formats.made import refuses
from formats.originals import DIFFUSION, UNET, VALUE, write_config, write_folder, write_state
from oracle.checkpoint import read_ema
from oracle.networks import ValueFunction

from diffuser_fast.core.guidance import Guide
from diffuser_fast.formats import load, load_value, save


@pytest.mark.parametrize(
    ("env", "guide"),
    [
        ("hopper-medium-expert-v2", Guide(0.0001, 2, 4)),
        ("hopper-medium-v2", Guide(0.1, 2, 2)),
        ("hopper-medium-replay-v2", Guide(0.1, 2, 2)),
        ("walker2d-medium-expert-v2", Guide(0.1, 2, 2)),
        ("halfcheetah-medium-replay-v2", Guide(0.001, 2, 4)),
        ("halfcheetah-medium-expert-v2", Guide(0.001, 2, 4)),
        ("maze2d-large-v1", Guide(0.1, 2, 2)),
        (None, Guide(0.1, 2, 2)),
        (3, Guide(0.1, 2, 2)),
    ],
)
def test_guides_as_published(guided, env, guide):
    write_config(guided / "dataset_config.pkl", "SequenceDataset", {"env": env})
    found = load(guided)
    assert found.guide == guide and found.guide.scale_by_variance and found.metadata["env"] == env


@pytest.mark.parametrize(
    ("arguments", "prediction", "clip"),
    [
        ({}, "epsilon", False),  # the constructor's defaults
        ({"predict_epsilon": False}, "x0", False),
        ({"predict_epsilon": True, "clip_denoised": True}, "epsilon", True),
    ],
)
def test_prediction_and_clipping(guided, arguments, prediction, clip):
    base = {name: DIFFUSION[name] for name in ("horizon", "observation_dim", "action_dim")}
    write_config(guided / "diffusion_config.pkl", "GaussianDiffusion", {**base, **arguments})
    found = load(guided)
    assert (found.prediction, found.clip_denoised) == (prediction, clip)


@pytest.mark.parametrize("protocol", range(6))
def test_configurations_of_every_protocol(guided, protocol):
    write_config(guided / "model_config.pkl", "TemporalUnet", UNET, protocol)
    assert load(guided).metadata["config"]["model"]["dim_mults"] == [1, 2]


def test_configurations_with_odd_contents_are_kept_as_words(guided):
    loop = {}
    loop["loop"] = loop
    odd = {
        "fn": len,
        "set": {1},
        "inf": float("inf"),
        "loop": loop,
        "text": "x" * 2000,
        "long": [0] * 100,
        3: 4,
    }
    write_config(guided / "dataset_config.pkl", "SequenceDataset", {"env": "e", "list": [1, (2, "a")], **odd})
    assert load(guided).metadata["config"]["dataset"] == {
        "env": "e",
        "list": [1, [2, "a"]],
        "fn": "<builtins.len>",
        "set": "<set>",
        "inf": "<float>",
        "loop": {"loop": {"loop": "<dict>"}},
        "text": "<str>",
        "long": "<list>",
    }


@pytest.mark.parametrize("name", ["horizon", "dim_mults", "env"])
def test_values_that_would_be_enormous_if_walked(guided, name):
    """A tuple of two references to a tuple of two references ...: comparing or printing it would never end."""
    value = ()
    for _ in range(200):
        value = (value, value)
    for config in ("model", "diffusion", "dataset"):
        write_config(guided / f"{config}_config.pkl", "Any", {name: value})
    if name == "env":
        assert load(guided, action_dim=2).guide == Guide()
    else:
        refuses(guided, name)


def contradiction(guided, name, **changes):
    kind, base = {"model": ("TemporalUnet", UNET), "diffusion": ("GaussianDiffusion", DIFFUSION)}[name]
    write_config(guided / f"{name}_config.pkl", kind, {**base, **changes})


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("model", {"dim": 32}, "model_config.pkl says dim 32, the weights have 8"),
        (
            "model",
            {"dim_mults": (1, 4)},
            r"model_config.pkl says dim_mults \(1, 4\), the weights have \(1, 2\)",
        ),
        ("model", {"dim_mults": [1, 4]}, "model_config.pkl says dim_mults"),
        ("model", {"transition_dim": 6}, "model_config.pkl says transition_dim 6, the weights have 5"),
        ("model", {"attention": True}, "model_config.pkl says attention True, the weights have False"),
        ("model", {"horizon": 16}, "model_config.pkl says horizon 16, diffusion_config.pkl says 8"),
        ("diffusion", {"n_timesteps": 20}, "diffusion_config.pkl says n_timesteps 20, betas says 6"),
        ("diffusion", {"action_dim": 3}, "diffusion_config.pkl says action_dim 3, the observation says 2"),
        (
            "diffusion",
            {"observation_dim": 4},
            "diffusion_config.pkl says action_dim 2, the observation says 1",
        ),
    ],
)
def test_configurations_that_contradict(guided, name, changes, message):
    contradiction(guided, name, **changes)
    assert str(guided / "state_7.pt") in refuses(guided, message)


def test_the_loss_weights_know_the_horizon_too(guided):
    contradiction(guided, "model", horizon=16)
    (guided / "diffusion_config.pkl").unlink()
    refuses(
        guided,
        "model_config.pkl says horizon 16, loss_fn.weights says 8",
        prediction="x0",
        clip_denoised=False,
    )


def test_lists_for_tuples_are_no_contradiction(guided):
    contradiction(guided, "model", dim_mults=[1, 2])
    load(guided)


def test_without_configurations(guided):
    for file in guided.rglob("*.pkl"):
        file.unlink()
    refuses(
        guided,
        r"no diffusion_config.pkl is beside it; pass action_dim=, prediction=, clip_denoised= to .*Decision Diffuser",
    )
    facts = {"action_dim": 2, "prediction": "x0", "clip_denoised": False}
    found = load(guided, **facts)
    assert found.unet.spec.horizon == 8, "of the loss's weights"
    assert found.value.spec.horizon == 8, "the U-Net's fits the head"
    assert found.metadata["config"] == {} and found.metadata["env"] is None
    state = read_ema(guided)
    del state["loss_fn.weights"]
    write_state(guided / "state_7.pt", state)
    refuses(guided, "its horizon is not known: no model_config.pkl is beside it; pass horizon=", **facts)
    assert load(guided, horizon=16, **facts).unet.spec.horizon == 16
    refuses(guided, "action_dim: found 9, expected 0 to 4", horizon=8, **{**facts, "action_dim": 9})


def test_arguments_may_not_contradict_the_files(guided):
    load(guided, horizon=8, action_dim=2, prediction="x0", clip_denoised=True)
    refuses(guided, "says horizon 8, the argument says 16", horizon=16)
    refuses(guided, "says prediction x0, the argument says epsilon", prediction="epsilon")
    refuses(guided, "says clip_denoised True, the argument says False", clip_denoised=False)
    refuses(guided, "says action_dim 2, the argument says 1", action_dim=1)


def test_the_horizon_of_a_value_network_without_configuration(tmp_path):
    """The head's width fits several: convolutions of stride 2 round up. The U-Net's is taken if it is one of them."""
    write_folder(tmp_path / "long", ValueFunction(**{**VALUE, "horizon": 20}), value=True)
    with pytest.raises(ValueError, match=r"its horizon is not known \(the head's width fits 17 to 32\)"):
        load_value(tmp_path / "long")
    for horizon in (18, 20, 22):
        assert load_value(tmp_path / "long", horizon=horizon).spec.horizon == horizon
    write_folder(tmp_path / "short", ValueFunction(**VALUE), value=True)
    with pytest.raises(ValueError, match=r"its horizon is not known \(the head's width fits 1 to 16\)"):
        load_value(tmp_path / "short")
    assert load_value(tmp_path / "short", horizon=8).spec.horizon == 8
    with pytest.raises(ValueError, match="its horizon is said to be 17, but the head's width fits 1 to 16"):
        load_value(tmp_path / "short", horizon=17)


def test_numbers_of_numpy_paths_and_slices(guided):
    """What scripts of people's own leave in a configuration: it says the same as if they had written it by hand."""
    before = load(guided)
    odd = {"horizon": np.int64(8), "dim_mults": np.array([1, 2]), "attention": np.bool_(False), "part": slice(0, 9)}
    diffusion = {"n_timesteps": np.int32(6), "clip_denoised": np.bool_(True), "predict_epsilon": np.bool_(False)}
    diffusion["scale"] = np.float32(0.5)
    write_config(guided / "model_config.pkl", "TemporalUnet", {**UNET, **odd, "savepath": Path("/logs/a")})
    write_config(guided / "diffusion_config.pkl", "GaussianDiffusion", {**DIFFUSION, **diffusion})
    after = load(guided)
    assert after.unet.spec == before.unet.spec and after.clip_denoised is True and after.prediction == "x0"
    found = after.metadata["config"]
    assert found["model"]["part"] == "slice(0, 9, None)" and found["model"]["savepath"] == "/logs/a"
    assert found["model"]["dim_mults"] == [1, 2] and found["diffusion"]["scale"] == 0.5
    save(after, guided / "a.safetensors")  # plain enough for JSON


def test_arguments_may_be_numpys(guided):
    (guided / "model_config.pkl").unlink()
    (guided / "diffusion_config.pkl").unlink()
    facts = {"horizon": np.int64(8), "action_dim": np.uint8(2), "clip_denoised": np.bool_(True)}
    found = load(guided, epoch=np.int64(7), prediction="x0", **facts)
    assert type(found.action_dim) is int and type(found.unet.spec.horizon) is int and found.clip_denoised is True


def test_a_broken_configuration_is_named(guided):
    (guided / "model_config.pkl").write_bytes(b"\x80\x04]\x94.")
    assert "model_config.pkl" in refuses(guided, "a pickle, but not of a configuration")
    (guided / "model_config.pkl").write_bytes(b"cos\nsystem\n(S'touch canary'\ntR.")
    refuses(
        guided,
        r"model_config.pkl: the pickle asks to call os.system; only inert records are read, so nothing was run",
    )


def test_other_configurations_are_not_opened(guided):
    for name in ("render", "trainer"):
        (guided / f"{name}_config.pkl").write_bytes(b"cos\nsystem\n(S'touch canary'\ntR.")
    load(guided)
