"""Small checkpoints of the original's relatives, in their own layouts, and the oracle's plans from them."""

import json
from dataclasses import dataclass, field

import numpy as np
import torch
from oracle import relative_plans as plans
from oracle import relatives as nets
from safetensors.torch import save_file

torch.set_grad_enabled(True)


@dataclass
class Relative:
    """folder: what load takes. known: normalised values [H, D] that are given, and where. plan: the oracle's."""

    folder: object
    plan: object
    tape: np.ndarray
    facts: dict = field(default_factory=dict)
    statistics: dict = field(default_factory=dict)
    observation: np.ndarray | None = None
    action_dim: int = 2
    condition: list | None = None
    times: tuple | None = None  # at which the observations are; None: the first


def double(store):
    return nets.Store({key: tensor.double() for key, tensor in store.items()})


def written(network, *inputs, seed):
    """A state dict with everything that a network reads."""
    store = nets.Store(seed=seed)
    with torch.no_grad():
        network(store, *inputs)
    return store


def numbers(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def gaussian(observations, actions):
    """One mean and one standard deviation for each field."""
    return {
        "normalizer": "GaussianNormalizer",
        "fields": {
            "observations": {"means": [0.3] * observations, "stds": [1.7] * observations},
            "actions": {"means": [-0.2] * actions, "stds": [0.6] * actions},
        },
    }


def placing(observation, at, times=(0,)):
    """A function that puts normalised observations where they are known."""
    given = torch.as_tensor(np.asarray(observation)).double().reshape(len(times), -1)

    def known(x):
        x = x.clone()
        for row, t in zip(given, times):
            x[:, t, at : at + given.shape[1]] = row
        return x

    return known


def diffusers(folder, *, flip=False, shift=1, act="mish", groups=8, levels=(32, 64), horizon=8, seed=0, **scheduler):
    s = plans.Scheduler(**{"n_train": 6, "variance_type": "fixed_small_log", "prediction_type": "sample",
                           "clip_sample": False, **scheduler})  # fmt: skip
    o, a, batch = 4, 2, 3
    w = nets.Widths(levels, head_groups=lambda c: groups, head_act=act)
    x, t = torch.zeros(1, horizon, o + a), torch.zeros(1)
    unet = written(nets.diffusers_unet, x, t, w, flip, shift, act, seed=seed)
    value = written(nets.diffusers_value, x, t, w, flip, shift, act, seed=seed + 1)
    common = {
        "_class_name": "UNet1DModel", "act_fn": act, "block_out_channels": list(levels), "flip_sin_to_cos": flip,
        "freq_shift": shift, "in_channels": o + a, "layers_per_block": 1, "norm_num_groups": groups,
        "time_embedding_type": "positional", "use_timestep_embedding": True,
        "down_block_types": ["DownResnetBlock1D"] * len(levels),
    }  # fmt: skip
    configs = {
        "unet": common | {"mid_block_type": "MidResTemporalBlock1D", "out_block_type": "OutConv1DBlock",
                          "up_block_types": ["UpResnetBlock1D"] * (len(levels) - 1)},
        "value_function": common | {"mid_block_type": "ValueFunctionMidBlock1D", "out_block_type": "ValueFunction",
                                    "up_block_types": []},
    }  # fmt: skip
    for name, state in (("unet", unet), ("value_function", value)):
        (folder / name).mkdir(parents=True)
        (folder / name / "config.json").write_text(json.dumps(configs[name]))
        save_file(dict(state), folder / name / "diffusion_pytorch_model.safetensors")
    (folder / "scheduler").mkdir()
    (folder / "scheduler" / "scheduler_config.json").write_text(json.dumps({
        "_class_name": "DDPMScheduler", "beta_schedule": s.beta_schedule, "num_train_timesteps": s.n_train,
        "beta_start": 1e-4, "beta_end": 0.02, "variance_type": s.variance_type, "prediction_type": s.prediction_type,
        "clip_sample": s.clip_sample, "clip_sample_range": s.clip_sample_range, "timestep_spacing": "leading",
    }))  # fmt: skip
    (folder / "model_index.json").write_text('{"_class_name": "ValueGuidedRLPipeline"}')
    tape, observation = numbers(seed + 2, s.n_train, batch, horizon, o + a), numbers(seed + 3, o)
    unet, value = double(unet), double(value)

    def plan():
        x, y = plans.value_guided(
            lambda x, t: nets.diffusers_unet(unet, x, t, w, flip, shift, act),
            lambda x, t: nets.diffusers_value(value, x, t, w, flip, shift, act),
            s, torch.tensor(tape).double(), placing((observation - 0.3) / 1.7, a), 0.1, 2,
        )  # fmt: skip
        order = torch.argsort(-y, stable=True)
        x = x[order].detach().numpy()
        return {"actions": x[..., :a] * 0.6 - 0.2, "observations": x[..., a:] * 1.7 + 0.3, "values": y[order].numpy()}

    return Relative(folder, plan, tape, {"horizon": horizon}, gaussian(o, a), observation, a)


def decision_diffuser(folder, *, levels=(16, 32), kernel=5, weight=1.2, inverse=True, told=True, horizon=8, seed=0):
    """A run's folder. inverse: inverse dynamics find the actions; else they are part of the trajectory."""
    n, o, a, batch, hidden = 6, 4, 2, 3, 24
    depth, w = (o if inverse else a + o), nets.Widths(levels, kernel)
    unet = written(
        nets.decision_unet, torch.zeros(1, horizon, depth), torch.zeros(1), torch.zeros(1, 1), w, told, seed=seed
    )
    state = {f"model.{key}": tensor for key, tensor in unet.items()} | {"loss_fn.weights": torch.ones(horizon, depth)}
    state |= {key: value.float() for key, value in plans.buffers(n).items()}
    inv = nets.Store(seed=seed + 1)

    def act(p, pair):
        for i, width in ((0, hidden), (2, hidden), (4, a)):
            pair = nets.linear(p, f"inv_model.{i}", torch.relu(pair) if i else pair, width)
        return pair

    if inverse:
        act(inv, torch.zeros(1, 2 * o))
        state |= inv
    (folder / "checkpoint").mkdir(parents=True)
    torch.save({"step": 3, "model": {}, "ema": state}, folder / "checkpoint" / "state.pt")
    diffusion = {"condition_guidance_w": weight} | ({} if inverse else {"action_dim": a})
    (folder / "facts.json").write_text(json.dumps({"diffusion": diffusion}))
    tape, observation, unet, inv = (
        numbers(seed + 2, n, batch, horizon, depth),
        numbers(seed + 3, o),
        double(unet),
        double(inv),
    )

    def plan():
        known = placing((observation - 0.3) / 1.7, 0 if inverse else a)
        returns = torch.full((batch, 1), 0.9).double()
        net = lambda x, t, r: nets.decision_unet(unet, x, t, r, w, told)
        x = plans.decision(net, n, returns, weight, torch.tensor(tape).double(), known)
        actions = act(inv, torch.cat((x[:, :-1], x[:, 1:]), -1)) if inverse else x[..., :a]
        return {
            "actions": actions.numpy() * 0.6 - 0.2, "observations": x[..., 0 if inverse else a :].numpy() * 1.7 + 0.3
        }  # fmt: skip

    return Relative(folder, plan, tape, {}, gaussian(o, a), observation, a, [0.9] if told else None)


def kuka(folder, *, levels=(16, 32), told=True, mixed=True, horizon=8, times=(0,), seed=0):
    """A folder. told: the network takes which times are given as its condition too. times: those that are."""
    n, o, batch, w = 6, 5, 3, nets.Widths(levels, mixed=mixed)
    given = torch.zeros(1, horizon).double()
    given[:, list(times)] = 1
    unet = written(nets.kuka_unet, torch.zeros(1, horizon, o), given.float(), torch.zeros(1), w, told, seed=seed)
    state = {f"denoise_fn.{key}": tensor for key, tensor in unet.items()}
    state |= {key: value.float() for key, value in plans.buffers(n).items()}
    folder.mkdir(parents=True, exist_ok=True)
    for number, one in ((100, {key: torch.zeros_like(tensor) for key, tensor in state.items()}), (650, state)):
        torch.save({"step": number, "model": {}, "ema": one}, folder / f"model-{number}.pt")
    tape, observation = (
        numbers(seed + 2, n + 1, batch, horizon, o),
        0.4 * numbers(seed + 3, *([len(times)] if len(times) > 1 else []), o),
    )
    unet = double(unet)

    def plan():
        known = placing((observation - 0.3) / 1.7, 0, times)
        x = plans.kuka(
            lambda x, t: nets.kuka_unet(unet, x, given.repeat(batch, 1), t, w, told),
            n,
            torch.tensor(tape).double(),
            known,
        )
        return {"observations": x.numpy() * 1.7 + 0.3}

    facts = {} if told else {"horizon": horizon}
    return Relative(folder, plan, tape, facts, gaussian(o, 0), observation, 0, times=times)


def cleandiffuser(
    folder, *, levels=(16, 32), width=16, kernel=5, attention=False, horizon=8, guided=True, seed=0, **process
):
    p = plans.Process(**{"n_train": 6, "n_steps": 6, "temperature": 0.5, "scale": 0.5 if guided else 0.0, **process})
    o, a, batch = 4, 2, 3
    w = nets.Widths(levels, kernel, lambda c: min(8, c // 4), head_kernel=5, attention=attention)
    v = nets.Widths(levels, 3, lambda c: min(8, c // 4))
    t = torch.zeros(1) if p.continuous else torch.zeros(1, dtype=torch.long)
    unet = written(nets.clean_unet, torch.zeros(1, horizon, o + a), t, w, width, seed=seed)
    folder.mkdir(parents=True, exist_ok=True)
    wrong = {f"diffusion.{key}": torch.zeros_like(tensor) for key, tensor in unet.items()}
    torch.save(
        {"model": wrong, "model_ema": {f"diffusion.{key}": tensor for key, tensor in unet.items()}},
        folder / "diffusion_ckpt_latest.pt",
    )
    value = None
    if guided:
        value = written(nets.clean_value, torch.zeros(1, horizon, o + a), t, v, width, seed=seed + 1)
        torch.save({"model": dict(value), "model_ema": dict(value)}, folder / "classifier_ckpt_latest.pt")
        value = double(value)
    unet = double(unet)
    tape, observation = numbers(seed + 2, p.n_steps, batch, horizon, o + a), numbers(seed + 3, o)

    def plan():
        x, y = plans.clean(
            lambda x, t: nets.clean_unet(unet, x, t, w, width),
            None if value is None else lambda x, t: nets.clean_value(value, x, t, v, width),
            p, torch.tensor(tape).double(), placing((observation - 0.3) / 1.7, 0),
        )  # fmt: skip
        order = torch.argsort(-y, stable=True)
        x = x[order].detach().numpy()
        return {
            "actions": np.clip(x[..., o:], -1, 1), "observations": x[..., :o] * 1.7 + 0.3,
            "values": y[order].detach().numpy(),
        }  # fmt: skip

    facts = {
        "horizon": horizon, "prediction": "epsilon" if p.predict_noise else "x0", "diffusion_steps": p.n_train,
        "n_steps": p.n_steps, "solver": p.solver, "temperature": p.temperature, "continuous": p.continuous,
    } | ({"clip_range": p.clip} if p.clip else {}) | ({"scale": p.scale} if guided else {})  # fmt: skip
    return Relative(folder, plan, tape, facts, gaussian(o, a), observation, a)
