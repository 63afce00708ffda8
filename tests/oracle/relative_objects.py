"""Look-alikes of the relatives' run-time objects: their attributes, their calls, their order of random numbers."""

from __future__ import annotations

import dataclasses
from types import SimpleNamespace

import numpy as np
import torch
from torch import Tensor, nn

from . import relative_plans as plans
from . import relatives as nets


class Tree(nn.Module):
    """Parameters by dotted names, as a state dict has them, and a network that reads them."""

    def __init__(self, tensors: dict[str, Tensor], network=None, prefix: str = "") -> None:
        super().__init__()
        self._network, self._prefix = network, prefix
        for key, tensor in tensors.items():
            *path, name = key.split(".")
            module: nn.Module = self
            for part in path:
                if part not in module._modules:
                    module.add_module(part, nn.Module())
                module = module._modules[part]
            module.register_parameter(name, nn.Parameter(tensor.clone()))

    def forward(self, *inputs):
        return self._network(nets.Store(dict(self.named_parameters())), *inputs)


class DDPMScheduler:
    """Of Hugging Face diffusers: ``step`` draws plain noise but at t = 0."""

    def __init__(self, s: plans.Scheduler) -> None:
        self.s = s
        self.config = {
            "beta_schedule": s.beta_schedule, "num_train_timesteps": s.n_train, "beta_start": 1e-4, "beta_end": 0.02,
            "variance_type": s.variance_type, "prediction_type": s.prediction_type, "clip_sample": s.clip_sample,
            "clip_sample_range": s.clip_sample_range, "timestep_spacing": "leading",
        }  # fmt: skip

    def step(self, out: Tensor, t: int, x: Tensor) -> Tensor:
        noise = torch.randn(out.shape) if t and not self.s.ddim else None
        return self.s.step(x, out, t, noise).to(x.dtype)


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
        for i in s.times:
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
        observed = torch.tensor((obs - self.means["observations"]) / self.stds["observations"], dtype=torch.float32)

        def known(x: Tensor) -> Tensor:
            x = x.clone()
            x[:, 0, self.action_dim :] = observed
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
        x = known(x)[..., : self.action_dim]
        actions = (x - self.fields["action"]["offset"]) / self.fields["action"]["scale"]
        first = self.n_obs_steps - bool(self.oa_step_convention)
        return {"action": actions[:, first : first + self.n_action_steps], "action_pred": actions}


def pipeline(seed: int = 0, **changes) -> ValueGuidedRLPipeline:
    """A small one, of random weights."""
    s = plans.Scheduler(5, variance_type="fixed_small_log", prediction_type="sample", clip_sample=False)
    s, levels, o, a = dataclasses.replace(s, **changes), (32, 64), 4, 2
    w = nets.Widths(levels, head_groups=lambda c: 8)
    options, x, t = (w, False, 1, "mish"), torch.zeros(2, 8, o + a), torch.zeros(2)
    common = {
        "block_out_channels": levels, "flip_sin_to_cos": False, "freq_shift": 1, "act_fn": "mish", "norm_num_groups": 8,
        "time_embedding_type": "positional", "use_timestep_embedding": True, "layers_per_block": 1,
        "down_block_types": ("DownResnetBlock1D",) * 2, "in_channels": o + a,
    }  # fmt: skip
    kinds = {
        "unet": (nets.diffusers_unet, "MidResTemporalBlock1D", "OutConv1DBlock", ("UpResnetBlock1D",)),
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


def lowdim_policy(seed: int = 0, inpainting: bool = False, film: bool = True, **changes) -> DiffusionUnetLowdimPolicy:
    """A small one, of random weights."""
    s, o, a, history = dataclasses.replace(plans.Scheduler(5), **changes), 3, 2, 2
    w = nets.Widths((16, 24), 5, lambda c: 8, lambda c: 8, film=film)
    store, names = nets.Store(seed=seed), nets.DIFFUSION_POLICY
    seen = None if inpainting else torch.zeros(1, history * o)
    with torch.no_grad():
        nets.conditional_unet(store, torch.zeros(1, 8, a + o * inpainting), torch.zeros(1), seen, names, w, 24)
    model = Tree(dict(store), lambda p, x, t, c: nets.conditional_unet(p, x, t, c, names, w, 24))
    rng = np.random.default_rng(seed)
    fields = {
        name: {"scale": rng.uniform(0.5, 2, n).astype(np.float32), "offset": rng.normal(size=n).astype(np.float32)}
        for name, n in (("obs", o), ("action", a))
    }
    kind = DDIMScheduler if s.ddim else DDPMScheduler
    said = SimpleNamespace(
        horizon=8, action_dim=a, obs_dim=o, n_action_steps=4, n_obs_steps=history, num_inference_steps=len(s.times),
        obs_as_local_cond=False, obs_as_global_cond=not inpainting, pred_action_steps_only=False,
        oa_step_convention=True,
    )  # fmt: skip
    return DiffusionUnetLowdimPolicy(model, kind(s), fields, 8, **vars(said))
