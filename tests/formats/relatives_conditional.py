"""Small checkpoints of diffusion_policy and lerobot, in their own layouts, and the oracle's plans from them."""

import json
import sys
import types
from unittest import mock

import numpy as np
import torch
from formats.relatives import Relative, double, numbers, placing, written
from oracle import relative_plans as plans
from oracle import relatives as nets
from safetensors.torch import save_file


def omegaconf():
    """Stand-ins for the library's classes, by the names that its pickles have."""
    modules = {}
    for module, name in (("dictconfig", "DictConfig"), ("listconfig", "ListConfig"), ("nodes", "AnyNode")):
        made = types.ModuleType(f"omegaconf.{module}")
        setattr(made, name, type(name, (), {"__module__": made.__name__}))
        modules[made.__name__] = made
    return {"omegaconf": types.ModuleType("omegaconf"), **modules}


def configured(value, modules):
    """A value as OmegaConf keeps it."""
    kind = {dict: ("dictconfig", "DictConfig"), list: ("listconfig", "ListConfig")}.get(
        type(value), ("nodes", "AnyNode")
    )
    record = getattr(modules[f"omegaconf.{kind[0]}"], kind[1])()
    if isinstance(value, dict):
        record._content = {key: configured(item, modules) for key, item in value.items()}
    elif isinstance(value, list):
        record._content = [configured(item, modules) for item in value]
    else:
        record._val = value
    return record


def saved(content, config, path):
    """torch.save with a configuration of OmegaConf's."""
    path.parent.mkdir(parents=True, exist_ok=True)
    modules = omegaconf()
    with mock.patch.dict(sys.modules, modules):
        torch.save({"cfg": configured(config, modules), **content, "pickles": {"global_step": b"\x80\x04K\x01."}}, path)


def scaled(seed, dim):
    """scale and offset of a field."""
    rng = np.random.default_rng(seed)
    return rng.uniform(0.5, 2, dim).astype(np.float32), rng.normal(size=dim).astype(np.float32)


def scheduler(**options):
    return plans.Scheduler(**{"n_train": 6, **options})


def diffusion_policy(
    folder, *, inpainting=False, local=False, short=False, film=True, groups=8, levels=(16, 24), kernel=5, width=24,
    seed=0, **process,
):  # fmt: skip
    """A run's folder. inpainting: the observations are part of the trajectory, and known; local: they are a condition
    along time. short: plans are of the actions that are executed."""
    s, horizon, history, o, a, batch = scheduler(**process), 8, 2, 3, 2, 3
    w = nets.Widths(levels, kernel, lambda c: groups, lambda c: 8, film=film)
    depth, seen = (a + o, None) if inpainting else (a, None if local else torch.zeros(1, history * o))
    names, steps = nets.DIFFUSION_POLICY, 4 if short else horizon
    unet = written(
        nets.conditional_unet, torch.zeros(1, steps, depth), torch.zeros(1), seen, names, w, width,
        torch.zeros(1, steps, o) if local else None, seed=seed,
    )  # fmt: skip
    (obs_scale, obs_offset), (act_scale, act_offset) = scaled(seed + 5, o), scaled(seed + 6, a)
    state = {f"model.{key}": tensor for key, tensor in unet.items()} | {"_dummy_variable": torch.zeros(0)}
    for name, pair in (("obs", (obs_scale, obs_offset)), ("action", (act_scale, act_offset))):
        state |= {f"normalizer.params_dict.{name}.{k}": torch.tensor(v) for k, v in zip(("scale", "offset"), pair)}
    policy = {
        "_target_": "diffusion_policy.policy.diffusion_unet_lowdim_policy.DiffusionUnetLowdimPolicy",
        "model": {"n_groups": groups, "cond_predict_scale": film, "input_dim": "${eval: 1/0}"},
        "noise_scheduler": {
            "_target_": f"diffusers.schedulers.x.{'DDIM' if s.ddim else 'DDPM'}Scheduler",
            "num_train_timesteps": s.n_train, "beta_schedule": s.beta_schedule, "beta_start": 1e-4, "beta_end": 0.02,
            "variance_type": s.variance_type, "clip_sample": s.clip_sample, "prediction_type": s.prediction_type,
        },
        "horizon": "${horizon}", "obs_dim": o, "action_dim": "${task.action_dim}", "n_obs_steps": history,
        "n_action_steps": "${eval:'${n_action_steps}+${n_latency_steps}'}", "num_inference_steps": len(s.times),
        "obs_as_local_cond": local, "obs_as_global_cond": not (inpainting or local), "pred_action_steps_only": short,
        "oa_step_convention": True,
    }  # fmt: skip
    config = {
        "policy": policy,
        "horizon": horizon,
        "task": {"action_dim": a},
        "n_action_steps": 4,
        "n_latency_steps": 0,
    }
    wrong = {key: torch.ones_like(tensor) for key, tensor in state.items()}
    saved({"state_dicts": {"model": wrong, "ema_model": state}}, config, folder / "checkpoints" / "latest.ckpt")
    tape, seen = numbers(seed + 2, len(s.times), batch, steps, depth), numbers(seed + 3, history, o)
    unet = double(unet)

    def plan():
        seen_n = seen.astype(np.float64) * obs_scale + obs_offset
        condition = None if inpainting or local else torch.tensor(seen_n.reshape(1, -1)).repeat(batch, 1)
        along = torch.zeros(batch, steps, o).double()
        along[:, :history] = torch.tensor(seen_n)
        x = plans.conditional(
            lambda x, t: nets.conditional_unet(unet, x, t, condition, names, w, width, along if local else None), s,
            torch.tensor(tape).double(),
            placing(seen_n, a, (0, 1)) if inpainting else lambda x: x,
        )  # fmt: skip
        return {"actions": (x[..., :a].numpy() - act_offset) / act_scale}

    return Relative(folder, plan, tape, {}, {}, seen, a)


def lerobot(
    folder, *, film=True, groups=8, levels=(16, 32), kernel=5, modes=None, old=False, images=0, seed=0, **process
):
    """A policy's folder. old: statistics inside the model's file. images: numbers of features of images."""
    s, horizon, history, o, env, a, batch = scheduler(**process), 8, 2, 3, 2, 2, 3
    modes = modes or {"VISUAL": "MEAN_STD", "STATE": "MIN_MAX", "ACTION": "MIN_MAX"}
    w, width = nets.Widths(levels, kernel, lambda c: groups, lambda c: 8, film=film), 32
    seen, names = torch.zeros(1, history * (o + images + env)), nets.LEROBOT
    unet = written(nets.conditional_unet, torch.zeros(1, horizon, a), torch.zeros(1), seen, names, w, width, seed=seed)
    rng = np.random.default_rng(seed + 5)
    stats = {}
    for name, dim in (("observation.state", o), ("observation.environment_state", env), ("action", a)):
        low = rng.normal(size=dim)
        found = {"min": low, "max": low + rng.uniform(1, 3, dim), "mean": low + 1, "std": rng.uniform(0.5, 2, dim)}
        stats |= {f"{name}.{key}": torch.tensor(value, dtype=torch.float32) for key, value in found.items()}
    folder.mkdir(parents=True)
    config = {
        "type": "diffusion", "n_obs_steps": history, "horizon": horizon, "n_action_steps": 4, "n_groups": groups,
        "input_features": {"observation.state": {"type": "STATE", "shape": [o]},
                           "observation.environment_state": {"type": "ENV", "shape": [env]}},
        "output_features": {"action": {"type": "ACTION", "shape": [a]}}, "use_film_scale_modulation": film,
        "normalization_mapping": modes, "noise_scheduler_type": "DDIM" if s.ddim else "DDPM",
        "num_train_timesteps": s.n_train, "beta_schedule": s.beta_schedule, "beta_start": 1e-4, "beta_end": 0.02,
        "prediction_type": s.prediction_type, "clip_sample": s.clip_sample, "clip_sample_range": s.clip_sample_range,
        "num_inference_steps": s.n_steps, "down_dims": list(levels), "kernel_size": kernel,
    }  # fmt: skip
    (folder / "config.json").write_text(json.dumps(config))
    state = {f"diffusion.unet.{key}": tensor for key, tensor in unet.items()} | {
        "diffusion.rgb_encoder.x": torch.zeros(1)
    }
    if old:
        for key, value in stats.items():
            module = "unnormalize_outputs" if key.startswith("action") else "normalize_inputs"
            name, _, part = key.rpartition(".")
            state[f"{module}.buffer_{name.replace('.', '_')}.{part}"] = value
    else:
        for which, kind in (("pre", "normalizer_processor"), ("post", "unnormalizer_processor")):
            file = f"policy_{which}processor_step_3_{kind}.safetensors"
            step = {"registry_name": kind, "config": {"norm_map": modes}, "state_file": file}
            (folder / f"policy_{which}processor.json").write_text(json.dumps({"steps": [{"registry_name": "x"}, step]}))
            save_file(stats, folder / file)
    save_file(state, folder / "model.safetensors")
    tape, seen = numbers(seed + 2, len(s.times), batch, horizon, a), numbers(seed + 3, history, o + images + env)
    unet, stats = double(unet), {key: value.double().numpy() for key, value in stats.items()}

    def normal(x, name, kind):
        if modes.get(kind) == "MIN_MAX":
            low, high = stats[f"{name}.min"], stats[f"{name}.max"]
            return 2 * (x - low) / (high - low) - 1
        return (x - stats[f"{name}.mean"]) / (stats[f"{name}.std"] + 1e-8) if modes.get(kind) == "MEAN_STD" else x

    def plan():
        x = seen.astype(np.float64)
        parts = (normal(x[:, :o], "observation.state", "STATE"), x[:, o : o + images],
                 normal(x[:, o + images :], "observation.environment_state", "ENV"))  # fmt: skip
        condition = torch.tensor(np.concatenate(parts, 1).reshape(1, -1)).repeat(batch, 1)
        y = plans.conditional(
            lambda x, t: nets.conditional_unet(unet, x, t, condition, names, w, width), s, torch.tensor(tape).double()
        ).numpy()
        if modes["ACTION"] == "MEAN_STD":
            return {"actions": y * stats["action.std"] + stats["action.mean"]}
        low, high = stats["action.min"], stats["action.max"]
        return {"actions": (y + 1) / 2 * (high - low) + low}

    return Relative(folder, plan, tape, {}, {}, seen, a)
