"""Look-alikes of the relatives' run-time objects: their attributes, their calls, their order of random numbers."""

from __future__ import annotations

import copy
import dataclasses
from contextlib import ExitStack, contextmanager
from types import SimpleNamespace
from unittest.mock import patch

import numpy as np
import torch
from torch import Tensor, nn

from . import relative_plans as plans
from . import relatives as nets


class Tree(nn.Module):
    """Parameters by dotted names, as a state dict has them, and a network that reads them."""

    def __init__(self, tensors: dict[str, Tensor], network=None, prefix: str = "") -> None:
        super().__init__()
        self._network, self._prefix, self._store = network, prefix, None
        for key, tensor in tensors.items():
            *path, name = key.split(".")
            module: nn.Module = self
            for part in path:
                if part not in module._modules:
                    module.add_module(part, nn.Module())
                module = module._modules[part]
            module.register_parameter(name, nn.Parameter(tensor.clone()))

    def forward(self, *inputs):
        if self._store is None:
            self._store = nets.Store(dict(self.named_parameters()))
        dtype = next(self.parameters()).dtype  # of double() too, whatever the numbers that it is given
        return self._network(self._store, *(x.to(dtype) if _floats(x) else x for x in inputs))


def _floats(x) -> bool:
    return isinstance(x, Tensor) and x.is_floating_point()


@contextmanager
def in_float64(original):
    """A copy of an object, its networks in float64, whose random numbers are those that float32 draws."""
    wide, drawn = copy.deepcopy(original), {name: getattr(torch, name) for name in ("randn", "randn_like")}
    for module in _modules(wide):
        module.double()
    with ExitStack() as stack:
        for name, draw in drawn.items():
            wider = lambda *args, draw=draw, **options: draw(*args, **options).double()
            stack.enter_context(patch.object(torch, name, wider))
        yield wide


def _modules(thing):
    if isinstance(thing, nn.Module):
        yield thing
    elif isinstance(thing, dict | SimpleNamespace | ValueGuidedRLPipeline | DiscreteDiffusionSDE):
        for part in (thing if isinstance(thing, dict) else vars(thing)).values():
            yield from _modules(part)


class DDPMScheduler:
    """Of Hugging Face diffusers: ``step`` draws plain noise but at t = 0."""

    def __init__(self, s: plans.Scheduler) -> None:
        self.s = s
        self.config = {
            "beta_schedule": s.beta_schedule, "num_train_timesteps": s.n_train, "beta_start": 1e-4, "beta_end": 0.02,
            "variance_type": s.variance_type, "prediction_type": s.prediction_type, "clip_sample": s.clip_sample,
            "clip_sample_range": s.clip_sample_range, "timestep_spacing": "leading",
        }  # fmt: skip
        self.timesteps = torch.tensor(list(s.times))

    def step(self, out: Tensor, t: int, x: Tensor) -> Tensor:
        noise = torch.randn(out.shape) if t and not self.s.ddim else None
        return self.s.step(x, out, t, noise).to(out.dtype)


class DDIMScheduler(DDPMScheduler):
    pass


class ValueGuidedRLPipeline:
    """``pipeline(obs)``: the first action of the best plan; x is drawn first, then the noise of every step."""

    def __init__(
        self, unet: Tree, value: Tree, scheduler: DDPMScheduler, means: dict, stds: dict, action_dim: int
    ) -> None:
        self.unet, self.value_function, self.scheduler = unet, value, scheduler
        self.means, self.stds, self.action_dim = means, stds, action_dim

    def run_diffusion(self, x: Tensor, known, n_guide_steps: int, scale: float) -> tuple[Tensor, Tensor]:
        s = self.scheduler.s
        for i in map(int, self.scheduler.timesteps):
            t = torch.full((len(x),), i)
            for _ in range(n_guide_steps):
                y, g = plans.gradient(self.value_function, x, t)
                g = g if i >= 2 else torch.zeros_like(g)
                x = known(x + scale * torch.exp(0.5 * s.variance(i)).to(x.dtype) * g)
            x = known(self.scheduler.step(self.unet(x, t).detach(), i, x))
        return x, y

    def __call__(
        self,
        obs: np.ndarray,
        batch_size: int = 64,
        planning_horizon: int = 32,
        n_guide_steps: int = 2,
        scale: float = 0.1,
    ) -> np.ndarray:
        observed = (obs - self.means["observations"]) / self.stds["observations"]

        def known(x: Tensor) -> Tensor:
            x = x.clone()
            x[:, 0, self.action_dim :] = torch.tensor(observed, dtype=x.dtype)
            return x

        x = torch.randn(batch_size, planning_horizon, self.action_dim + len(obs))
        x, y = self.run_diffusion(known(x), known, n_guide_steps, scale)
        best = x[y.argsort(descending=True)][0, 0, : self.action_dim].detach().numpy()
        return best * self.stds["actions"] + self.means["actions"]


class DiffusionUnetLowdimPolicy(nn.Module):
    """``policy.predict_action({"obs": obs})``, with the observations as a condition or as known values."""

    def __init__(self, model: Tree, scheduler: DDPMScheduler, fields: dict, groups: int, **said) -> None:
        super().__init__()
        self.model, self.noise_scheduler = model, scheduler
        names = {f"params_dict.{name}.{part}": value for name, parts in fields.items() for part, value in parts.items()}
        self.normalizer = Tree({key: torch.tensor(value) for key, value in names.items()})
        self.fields = {name: {part: torch.tensor(v) for part, v in parts.items()} for name, parts in fields.items()}
        # What its network's modules show: the groups of their norms.
        self.model.down_modules.add_module("norms", nn.GroupNorm(groups, groups, affine=False))
        for name, value in said.items():
            setattr(self, name, value)

    def predict_action(self, obs_dict: dict[str, Tensor]) -> dict[str, Tensor]:
        obs = obs_dict["obs"]
        seen = obs[:, : self.n_obs_steps] * self.fields["obs"]["scale"] + self.fields["obs"]["offset"]
        width = self.action_dim + (0 if self.obs_as_global_cond else self.obs_dim)
        condition = seen.reshape(len(obs), -1) if self.obs_as_global_cond else None

        def known(x: Tensor) -> Tensor:
            if not self.obs_as_global_cond:
                x = x.clone()
                x[:, : self.n_obs_steps, self.action_dim :] = seen
            return x

        x = torch.randn(len(obs), self.horizon, width)
        for i in self.noise_scheduler.s.times:
            x = known(x)
            x = self.noise_scheduler.step(self.model(x, torch.full((len(x),), i), condition), i, x)
        x, first, found = known(x), self.n_obs_steps - bool(self.oa_step_convention), {}
        for name, part in (("action", x[..., : self.action_dim]), ("obs", x[..., self.action_dim :])):
            if part.shape[-1]:
                whole = (part - self.fields[name]["offset"]) / self.fields[name]["scale"]
                chunk = "action" if name == "action" else "action_obs_pred"
                found |= {chunk: whole[:, first : first + self.n_action_steps], f"{name}_pred": whole}
        return found


def pipeline(seed: int = 0, levels=(32, 64), o: int = 4, a: int = 2, **changes) -> ValueGuidedRLPipeline:
    """A small one, of random weights."""
    s = plans.Scheduler(5, variance_type="fixed_small_log", prediction_type="sample", clip_sample=False)
    s = dataclasses.replace(s, **changes)
    w = nets.Widths(levels, head_groups=lambda c: 8)
    options, x, t = (w, False, 1, "mish"), torch.zeros(2, 1 << (len(levels) + 1), o + a), torch.zeros(2)
    common = {
        "block_out_channels": levels, "flip_sin_to_cos": False, "freq_shift": 1, "act_fn": "mish", "norm_num_groups": 8,
        "time_embedding_type": "positional", "use_timestep_embedding": True, "layers_per_block": 1,
        "down_block_types": ("DownResnetBlock1D",) * len(levels), "in_channels": o + a,
    }  # fmt: skip
    kinds = {
        "unet": (
            nets.diffusers_unet,
            "MidResTemporalBlock1D",
            "OutConv1DBlock",
            ("UpResnetBlock1D",) * (len(levels) - 1),
        ),
        "value": (nets.diffusers_value, "ValueFunctionMidBlock1D", "ValueFunction", ()),
    }
    made = {}
    for n, (name, (network, middle, out, up)) in enumerate(kinds.items()):
        store = nets.Store(seed=seed + n)
        with torch.no_grad():
            network(store, x, t, *options)
        made[name] = Tree(dict(store), lambda p, x, t, network=network: network(p, x, t, *options))
        made[name].config = common | {"mid_block_type": middle, "out_block_type": out, "up_block_types": up}
    statistics = {"observations": 0.3, "actions": -0.2}, {"observations": 1.7, "actions": 0.6}
    return ValueGuidedRLPipeline(made["unet"], made["value"], DDPMScheduler(s), *statistics, a)


def lowdim_policy(
    seed: int = 0, inpainting: bool = False, film: bool = True, levels=(16, 24), horizon: int = 8, o: int = 3,
    width: int = 24, **changes,
) -> DiffusionUnetLowdimPolicy:  # fmt: skip
    """A small one, of random weights."""
    s, a, history = dataclasses.replace(plans.Scheduler(5), **changes), 2, 2
    w = nets.Widths(levels, 5, lambda c: 8, lambda c: 8, film=film)
    store, names = nets.Store(seed=seed), nets.DIFFUSION_POLICY
    seen = None if inpainting else torch.zeros(1, history * o)
    with torch.no_grad():
        nets.conditional_unet(store, torch.zeros(1, horizon, a + o * inpainting), torch.zeros(1), seen, names, w, width)
    model = Tree(dict(store), lambda p, x, t, c: nets.conditional_unet(p, x, t, c, names, w, width))
    rng = np.random.default_rng(seed)
    fields = {
        name: {"scale": rng.uniform(0.5, 2, n).astype(np.float32), "offset": rng.normal(size=n).astype(np.float32)}
        for name, n in (("obs", o), ("action", a))
    }
    kind = DDIMScheduler if s.ddim else DDPMScheduler
    said = SimpleNamespace(
        horizon=horizon, action_dim=a, obs_dim=o, n_action_steps=4, n_obs_steps=history,
        num_inference_steps=len(s.times),
        obs_as_local_cond=False, obs_as_global_cond=not inpainting, pred_action_steps_only=False,
        oa_step_convention=True,
    )  # fmt: skip
    return DiffusionUnetLowdimPolicy(model, kind(s), fields, 8, **vars(said))


class DiffusionModel(nn.Module):
    """The half of lerobot's DiffusionPolicy that samples."""

    def __init__(self, unet: Tree, scheduler: DDPMScheduler, config: SimpleNamespace) -> None:
        super().__init__()
        self.unet, self.noise_scheduler, self.config = unet, scheduler, config
        self.num_inference_steps = len(scheduler.s.times)

    def conditional_sample(self, batch_size: int, global_cond=None, generator=None, noise=None) -> Tensor:
        shape = (batch_size, self.config.horizon, self.config.action_feature.shape[0])
        x = torch.randn(shape, generator=generator) if noise is None else noise
        for i in self.noise_scheduler.s.times:
            x = self.noise_scheduler.step(self.unet(x, torch.full((len(x),), i), global_cond), i, x)
        return x

    def generate_actions(self, batch: dict[str, Tensor], noise=None) -> Tensor:
        seen = torch.cat((batch["observation.state"], batch["observation.environment_state"]), dim=-1)
        x = self.conditional_sample(len(seen), global_cond=seen.flatten(1), noise=noise)
        first = self.config.n_obs_steps - 1
        return x[:, first : first + self.config.n_action_steps]


class DiffusionPolicy(nn.Module):
    """lerobot's: ``policy.select_action(batch)``, with queues of observations and of actions; its call is a loss."""

    def __init__(self, diffusion: DiffusionModel) -> None:
        super().__init__()
        self.diffusion, self.config = diffusion, diffusion.config
        self.reset()

    def reset(self) -> None:
        self.seen: dict[str, list[Tensor]] = {}
        self.ahead: list[Tensor] = []

    def forward(self, batch: dict[str, Tensor]) -> Tensor:
        return batch["action"].mean()

    @torch.no_grad()
    def predict_action_chunk(self, batch: dict[str, Tensor], noise=None) -> Tensor:
        stacked = {key: torch.stack(seen, dim=1) for key, seen in self.seen.items()}
        return self.diffusion.generate_actions(stacked, noise=noise)

    @torch.no_grad()
    def select_action(self, batch: dict[str, Tensor], noise=None) -> Tensor:
        history = self.config.n_obs_steps
        for key, tensor in batch.items():
            self.seen[key] = [*self.seen.get(key, [tensor] * (history - 1)), tensor][-history:]
        if not self.ahead:
            self.ahead = list(self.predict_action_chunk(batch, noise=noise).transpose(0, 1))
        return self.ahead.pop(0)


def lerobot_policy(seed: int = 0, film: bool = True, **changes) -> DiffusionPolicy:
    """A small one, of random weights."""
    s, o, a, history = dataclasses.replace(plans.Scheduler(5), **changes), 5, 2, 2
    w = nets.Widths((16, 24), 5, lambda c: 8, lambda c: 8, film=film)
    store = nets.Store(seed=seed)
    with torch.no_grad():
        seen = torch.zeros(1, history * o)
        nets.conditional_unet(store, torch.zeros(1, 8, a), torch.zeros(1), seen, nets.LEROBOT, w, 24)
    unet = Tree(dict(store), lambda p, x, t, c: nets.conditional_unet(p, x, t, c, nets.LEROBOT, w, 24))
    config = SimpleNamespace(
        horizon=8, n_obs_steps=history, n_action_steps=4, n_groups=8, use_film_scale_modulation=film,
        action_feature=SimpleNamespace(shape=(a,)),
    )  # fmt: skip
    kind = DDIMScheduler if s.ddim else DDPMScheduler
    return DiffusionPolicy(DiffusionModel(unet, kind(s), config))


class GaussianInvDynDiffusion(nn.Module):
    """Decision Diffuser's: ``diffusion({0: obs}, returns=returns)``. Its pass without returns draws a mask first."""

    def __init__(self, model: Tree, n: int, horizon: int, observation_dim: int, action_dim: int, **said) -> None:
        super().__init__()
        self.model, self.horizon, self.n_timesteps = model, horizon, n
        self.observation_dim, self.action_dim = observation_dim, action_dim
        for name, value in plans.buffers(n).items():
            self.register_buffer(name, value.float())
        for name, value in said.items():
            setattr(self, name, value)

    @torch.no_grad()
    def conditional_sample(
        self, cond: dict[int, Tensor], returns=None, horizon=None, verbose: bool = True, return_diffusion: bool = False
    ):
        shown: list[Tensor] = []
        depth = self.observation_dim + (0 if hasattr(self, "inv_model") else self.action_dim)
        shape, at = (len(cond[0]), horizon or self.horizon, depth), depth - self.observation_dim

        def known(x: Tensor) -> Tensor:
            x = x.clone()
            for t, obs in cond.items():
                x[:, t, at:] = obs
            shown.append(x)
            return x

        tape = [torch.randn(shape)]
        for _ in range(self.n_timesteps):
            if self.returns_condition:
                torch.bernoulli(torch.tensor(1 - self.model.condition_dropout).expand(len(cond[0]), 1))
            tape.append(torch.randn(shape))
        x = plans.decision(self.model, self.n_timesteps, returns, self.condition_guidance_w, torch.stack(tape), known)
        return (x, torch.stack(shown, dim=1)) if return_diffusion else x

    def forward(self, cond, *args, **kwargs):
        return self.conditional_sample(cond, *args, **kwargs)


def decision_diffusion(
    seed: int = 0, inverse: bool = True, weight: float = 1.2, levels=(16, 32), horizon: int = 8, n: int = 6, o: int = 4
) -> GaussianInvDynDiffusion:
    """A small one, of random weights; without inverse dynamics actions are part of its trajectories."""
    a, w = 2, nets.Widths(levels)
    store = nets.Store(seed=seed)
    with torch.no_grad():
        depth = o + (0 if inverse else a)
        nets.decision_unet(store, torch.zeros(1, horizon, depth), torch.zeros(1), torch.zeros(1, 1), w)
    model = Tree(dict(store), lambda p, x, t, r: nets.decision_unet(p, x, t, r, w))
    model.calc_energy, model.condition_dropout = False, 0.25
    parts = {"inv_model": nn.Linear(2 * o, a)} if inverse else {}
    return GaussianInvDynDiffusion(
        model, n, horizon, o, a, returns_condition=True, condition_guidance_w=weight, clip_denoised=True,
        predict_epsilon=True, **parts,
    )  # fmt: skip


class DiscreteDiffusionSDE:
    """CleanDiffuser's: ``agent.sample(prior, solver=..., sample_steps=...)``, by its averaged networks. real: it tells
    its networks of real steps."""

    def __init__(
        self, nets_: dict, classifier: dict | None, fix_mask: Tensor, process: plans.Process, real: bool
    ) -> None:
        self.model, self.model_ema, self.fix_mask = nets_["model"], nets_["model_ema"], fix_mask[None]
        self.classifier = None if classifier is None else SimpleNamespace(**classifier)
        self.predict_noise, self.process, self.real = process.predict_noise, process, real
        self.x_max = None if process.clip is None else process.clip * torch.ones(1, *fix_mask.shape)
        self.x_min = None if process.clip is None else -self.x_max
        t = torch.linspace(1e-3, 1.0, process.n_train)
        self.alpha = (np.pi / 2 * (t.clip(0, 0.9946) + 0.008) / 1.008).cos() / np.cos(np.pi / 2 * 0.008 / 1.008)

    def sample(
        self, prior: Tensor, solver: str = "ddpm", n_samples: int = 1, sample_steps: int = 5, use_ema: bool = True,
        temperature: float = 1.0, w_cg: float = 0.0, preserve_history: bool = False, **others,
    ):  # fmt: skip
        p = dataclasses.replace(self.process, solver=solver, n_steps=sample_steps, temperature=temperature, scale=w_cg)
        shown: list[Tensor] = []

        def known(x: Tensor) -> Tensor:
            shown.append(x * (1 - self.fix_mask) + prior * self.fix_mask)
            return shown[-1]

        def told(network):
            return lambda x, t: network(x, t.float() if self.real else t)

        tape = torch.stack([torch.randn_like(prior) for _ in range(sample_steps if solver == "ddpm" else 1)])
        net = (self.model_ema if use_ema else self.model)["diffusion"]
        value = None if self.classifier is None else told(self.classifier.model_ema)
        with torch.no_grad():
            x, y = plans.clean(told(net), value, p, tape, known)
        log = {"sample_history": torch.stack(shown, 1).numpy() if preserve_history else None}
        return x, log | ({} if value is None else {"log_p": y[:, None]})


def agent(
    seed: int = 0, guided: bool = True, real: bool = False, levels=(16, 32), horizon: int = 8, o: int = 4, **process
) -> DiscreteDiffusionSDE:
    """A small one, of random weights; its observation stands before two actions, and is known at time 0."""
    p = plans.Process(**{"n_train": 12, "n_steps": 6, **process})
    w = nets.Widths(levels, 5, lambda c: min(8, c // 4), head_kernel=5)
    v = nets.Widths(levels, 3, lambda c: min(8, c // 4))
    x, t = torch.zeros(1, horizon, o + 2), torch.zeros(1, dtype=torch.float32 if real else torch.long)

    def made(network, seed: int, widths: nets.Widths) -> Tree:
        store = nets.Store(seed=seed)
        with torch.no_grad():
            network(store, x, t, widths, levels[0])
        return Tree(dict(store), lambda p, x, t: network(p, x, t, widths, levels[0]))

    networks = {
        name: nn.ModuleDict({"diffusion": made(nets.clean_unet, seed + n, w)})
        for n, name in enumerate(("model_ema", "model"))
    }
    classifier = {"model_ema": made(nets.clean_value, seed + 2, v)} if guided else None
    mask = torch.zeros(horizon, o + 2)
    mask[0, :o] = 1
    return DiscreteDiffusionSDE(networks, classifier, mask, p, real)
