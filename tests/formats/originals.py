"""Folders as the original writes them, made from the oracle's networks."""

import pickle
import sys
from contextlib import contextmanager
from types import ModuleType

import torch
from oracle.diffusion import GaussianDiffusion
from oracle.draws import randomize

SIZES = {"horizon": 8, "transition_dim": 5, "cond_dim": 3, "dim": 8}
UNET = {**SIZES, "dim_mults": (1, 2)}
VALUE = {**SIZES, "dim_mults": (1, 4)}
DIFFUSION = {
    "horizon": 8,
    "observation_dim": 3,
    "action_dim": 2,
    "n_timesteps": 6,
    "clip_denoised": True,
    "predict_epsilon": False,
}


class Config:
    """Pickled under the original's name."""

    def __init__(self, kind, arguments):
        self._class, self._device, self._dict = kind, "cuda", arguments


@contextmanager
def modules_of_the_original(**classes):
    """Its modules exist while pickles are written: pickle wants to find what it names. Reading must not need this."""
    names = {"diffuser.utils.config": {"Config": Config}, "diffuser.models": classes}
    made = {name: ModuleType(name) for name in ("diffuser", "diffuser.utils", *names)}
    for name, members in names.items():
        for member, kind in members.items():
            setattr(made[name], member, kind)
            kind.__module__, kind.__qualname__ = name, member
    sys.modules.update(made)
    try:
        yield
    finally:
        for name in made:
            del sys.modules[name]


def write_config(path, class_name, arguments, protocol=4):
    """A ``*_config.pkl``."""
    kind = type(class_name, (), {})
    with modules_of_the_original(**{class_name: kind}):
        path.write_bytes(pickle.dumps(Config(kind, arguments), protocol=protocol))


def diffusion(network, seed=0, *, value=False, n_timesteps=6, **arguments):
    """The oracle's diffusion around a network with random weights: its state dict has the original's keys."""
    randomize(network, seed, torch.float32)
    loss = {"loss_type": "value_l2"} if value else {}
    return GaussianDiffusion(network, 8, 3, 2, n_timesteps=n_timesteps, **loss, **arguments)


def write_state(path, state, step=7):
    """A ``state_*.pt``. The plain weights are wrong on purpose: plans use the average."""
    wrong = {key: value * 0 + 99 for key, value in state.items()}
    torch.save({"step": step, "model": wrong, "ema": state}, path)
    return path


def write_folder(folder, network, *, value=False, epoch=7, model=None, diffusion_config=None, dataset=None):
    """A whole folder; ``None`` for a configuration leaves its file out. Returns the state dict."""
    folder.mkdir(parents=True, exist_ok=True)
    state = diffusion(network, value=value).state_dict()
    write_state(folder / f"state_{epoch}.pt", state)
    for name, kind, arguments in [
        ("model", type(network).__name__, model),
        ("diffusion", "ValueDiffusion" if value else "GaussianDiffusion", diffusion_config),
        ("dataset", "SequenceDataset", dataset),
    ]:
        if arguments is not None:
            write_config(folder / f"{name}_config.pkl", kind, arguments)
    return state
