"""The training loop: batches from a resident data set, Adam, averaged weights, and files that survive anything.

A run lives in one folder: ``recipe.json``, ``training.pt`` (to go on from), ``loss.jsonl``, and the native
checkpoint of the averaged weights, ``<target>.safetensors``, rewritten at every save. A run that goes on from a
checkpoint keeps that too (start.py).
"""

from __future__ import annotations

import json
import signal
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..core.checkpoint import Checkpoint, Weights
from ..core.normalizers import Normalizers, normalizer_kind
from ..core.schedule import cosine
from ..core.spec import UNetSpec, ValueSpec
from ..core.whole_file import write_whole
from ..data.episodes import Episodes
from ..data.returns import ValueWindows
from ..data.windows import Windows
from ..formats import native
from . import start as beginnings
from .losses import loss_weights, planner_loss, value_loss
from .module import TrajectoryNetwork
from .recipe import Recipe
from .standardized import Standardized
from .state import STATE, LossLog, load_state, save_state

LOG_EVERY = 50


class Trainer:
    """One training run in ``folder``; if the folder holds one already, it goes on from there.

    episodes: the data, physical units. metadata: provenance for the checkpoint. device: "cuda", "cpu" or None (a GPU
    if there is one). precision: "bf16" (autocast), "float32" or "auto": bf16 where the device has it in hardware.
    start: a checkpoint to go on from: the first weights and the normaliser are its; learning rate and Adam rise anew,
    and the recipe's steps count from here.
    """

    def __init__(
        self, recipe: Recipe, episodes: Episodes, folder: str | Path, *, device: str | None = None,
        precision: str = "auto", compile: bool | None = None, metadata: Mapping[str, Any] | None = None,
        start: Checkpoint | None = None,
    ) -> None:  # fmt: skip
        self.recipe, self.folder, self.metadata = recipe, Path(folder), dict(metadata or {})
        self.device = _device(device)
        self.autocast = _has_bf16(self.device) if precision == "auto" else precision == "bf16"
        self.action_dim, obs_dim = episodes.actions.shape[1], episodes.observations.shape[1]
        spec = _spec(recipe, self.action_dim + obs_dim)
        start = beginnings.first_checkpoint(start, self.folder, recipe, spec)
        if start is None:
            kind = normalizer_kind(recipe.normalizer)
            self.normalizers = Normalizers(kind.fit(episodes.observations), kind.fit(episodes.actions))
        else:
            self.normalizers = start.normalizers
            self.metadata["from"] = beginnings.history(start, recipe.target)
        windows = Windows.of(
            episodes, recipe.horizon, self.normalizers,
            use_padding=recipe.use_padding, max_path_length=recipe.max_path_length,
        )  # fmt: skip
        returns = None
        if recipe.target == "value":
            pairs = ValueWindows.of(
                windows, episodes, recipe.discount,
                termination_penalty=recipe.termination_penalty, n_step=recipe.n_step,
            )  # fmt: skip
            windows, returns = pairs.windows, pairs.values
        self.returns = None if returns is None else Standardized.of(returns)
        self.data = _Resident(windows, None if returns is None else self.returns.done(returns), self.device)
        self.folder.mkdir(parents=True, exist_ok=True)  # data and recipe will do: from here on there is a run
        self._check_recipe()
        beginnings.keep(start, self.folder)
        self.schedule = cosine(recipe.n_timesteps)
        self.alphas_cumprod = torch.tensor(self.schedule.alphas_cumprod, dtype=torch.float32, device=self.device)
        self.loss_weights = loss_weights(recipe, self.action_dim + obs_dim, self.action_dim).to(self.device)

        torch.manual_seed(recipe.seed)
        self.net = TrajectoryNetwork(spec).to(self.device)
        if start is not None:
            first = beginnings.first_weights(start, recipe)
            self.net.load((first if self.returns is None else self.returns.redone(first)).arrays)
        self.ema = {name: p.detach().clone() for name, p in self.net.named_parameters()}
        self.optimizer = torch.optim.Adam(self.net.parameters(), lr=recipe.lr, fused=True)
        self.step = 0
        self._resume()
        # Compiling pays on GPUs (launches dominate); on CPUs the convolutions do, and it gains little.
        use_compile = self.device.type == "cuda" if compile is None else compile
        self._forward = torch.compile(self.net) if use_compile else self.net

    def run(
        self, *, save_every: int = 1000, on_step: Callable[[int, float], None] | None = None,
        on_save: Callable[[int], None] | None = None,
    ) -> bool:  # fmt: skip
        """Train to ``recipe.steps``; True if it got there. An interrupt (Ctrl-C, SIGTERM) saves and returns False.

        on_step(step, loss) is called every ``LOG_EVERY`` steps, on_save(step) after each save.
        """
        sums, began, saved = [], time.monotonic(), self.step
        with closing(LossLog(self.folder / "loss.jsonl", self.step)) as log, _interruptible() as interrupted:
            while self.step < self.recipe.steps and not interrupted.is_set():
                sums.append(self._update())
                saving = self.step % save_every == 0
                if saving or self.step % LOG_EVERY == 0 or self.step == self.recipe.steps:
                    loss = float(torch.stack(sums).mean())  # the only synchronisation
                    if not np.isfinite(loss):
                        raise FloatingPointError(f"the loss is {loss} at step {self.step}; the last save is whole")
                    log.write(step=self.step, loss=loss, seconds=round(time.monotonic() - began, 3))
                    sums = []
                    if on_step:
                        on_step(self.step, loss)
                if saving:
                    self.save()
                    saved = self.step
                    if on_save:
                        on_save(self.step)
            if saved != self.step:
                self.save()
        return self.step >= self.recipe.steps

    def save(self) -> None:
        """The state to go on from, and the checkpoint of the averaged weights."""
        state = {
            "step": self.step,
            "net": self.net.state_dict(),
            "ema": self.ema,
            "optimizer": self.optimizer.state_dict(),
        }
        save_state(self.folder / STATE, state)
        path = self.folder / f"{self.recipe.target}.safetensors"
        metadata = {**self.metadata, "recipe": self.recipe.to_json(), "step": self.step}
        if self.recipe.target == "value":
            native.save_value(self._averaged(), self.schedule, path, metadata=metadata)
            return
        planner = Checkpoint(
            unet=self._averaged(), schedule=self.schedule, action_dim=self.action_dim,
            prediction=self.recipe.prediction, clip_denoised=self.recipe.clip_denoised,
            normalizers=self.normalizers, metadata=metadata,
        )  # fmt: skip
        native.save(planner, path)

    def _averaged(self) -> Weights:
        net = TrajectoryNetwork(self.net.spec)
        net.load_state_dict({name: value.cpu() for name, value in self.ema.items()}, strict=True)
        weights = net.weights()
        return weights if self.returns is None else self.returns.undone(weights)

    def _update(self) -> torch.Tensor:
        recipe = self.recipe
        # Everything random about a step follows from (seed, step): resuming needs no generator state.
        generator = torch.Generator(self.device).manual_seed(recipe.seed * 1_000_000_007 + self.step)
        x0, returns = self.data.batch(generator, recipe.batch_size)
        t = torch.randint(recipe.n_timesteps, (len(x0),), generator=generator, device=self.device)
        noise = torch.randn(x0.shape, generator=generator, device=self.device)
        common = {"recipe": recipe, "action_dim": self.action_dim, "alphas_cumprod": self.alphas_cumprod}
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.autocast):
            if returns is None:
                loss = planner_loss(self._forward, x0, t, noise, weights=self.loss_weights, **common)
            else:
                loss = value_loss(self._forward, x0, t, noise, returns, **common)
        for group in self.optimizer.param_groups:
            group["lr"] = recipe.learning_rate(self.step)
        self.optimizer.zero_grad()
        loss.backward()
        if recipe.max_grad_norm is not None:
            torch.nn.utils.clip_grad_norm_(self.net.parameters(), recipe.max_grad_norm)
        self.optimizer.step()
        with torch.no_grad():
            live = [p.detach() for p in self.net.parameters()]
            torch._foreach_lerp_(list(self.ema.values()), live, 1 - recipe.ema_decay(self.step))
        self.step += 1
        return loss.detach()

    def _check_recipe(self) -> None:
        path = self.folder / "recipe.json"
        if path.exists() and (self.folder / STATE).exists():  # until then there is nothing to go on from
            found = Recipe.from_json(json.loads(path.read_text())).to_json()
            # Only the length of a run may change: more steps put off its final decay, fewer bring it on.
            changed = [k for k, v in self.recipe.to_json().items() if found[k] != v and k != "steps"]
            if changed:
                raise ValueError(f"{path}: the run in this folder has other values of {', '.join(changed)}")
        write_whole(path, (json.dumps(self.recipe.to_json(), indent=2) + "\n").encode())

    def _resume(self) -> None:
        path = self.folder / STATE
        if path.exists():
            state = load_state(path)
            self.net.load_state_dict(state["net"])
            self.ema = {name: value.to(self.device) for name, value in state["ema"].items()}
            self.optimizer.load_state_dict(state["optimizer"])
            self.step = state["step"]


class _Resident:
    """All transitions on the device; a batch is a gather there."""

    def __init__(self, windows: Windows, returns: np.ndarray | None, device: torch.device) -> None:
        self.transitions = torch.tensor(windows.transitions_n, device=device)
        self.starts = torch.tensor(windows.starts, device=device)
        self.stops = torch.tensor(windows.stops, device=device)
        self.offsets = torch.arange(windows.horizon, device=device)
        self.returns = None if returns is None else torch.tensor(returns, dtype=torch.float32, device=device)

    def batch(self, generator: torch.Generator, n: int) -> tuple[torch.Tensor, torch.Tensor | None]:
        """``[n, H, D]`` normalised, and the returns ``[n]`` if there are any."""
        pick = torch.randint(len(self.starts), (n,), generator=generator, device=self.starts.device)
        rows = self.starts[pick][:, None] + self.offsets
        # Steps beyond the path's end lie in the last row, which holds the padding.
        rows = torch.where(rows < self.stops[pick][:, None], rows, len(self.transitions) - 1)
        return self.transitions[rows], None if self.returns is None else self.returns[pick]


def _spec(recipe: Recipe, transition_dim: int) -> UNetSpec | ValueSpec:
    sizes = {"dim": recipe.dim, "dim_mults": recipe.dim_mults}
    if recipe.target == "planner":
        return UNetSpec(recipe.horizon, transition_dim, attention=recipe.attention, **sizes)
    return ValueSpec(recipe.horizon, transition_dim, **sizes)


def _device(name: str | None) -> torch.device:
    """A device by its name, None the best there is; ValueError for one that torch cannot use here."""
    try:
        device = torch.device(name or ("cuda" if torch.cuda.is_available() else "cpu"))
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError):
        raise ValueError(f"device: found {name!r}, which torch cannot use here") from None
    return device


def _has_bf16(device: torch.device) -> bool:
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported()
    return torch.ops.mkldnn._is_mkldnn_bf16_supported() and torch.cpu._is_avx512_bf16_supported()


@contextmanager
def _interruptible():
    """An event that Ctrl-C and SIGTERM set; a second Ctrl-C interrupts at once. Elsewhere than in the main thread it
    is never set."""
    event = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield event
        return

    def request(number: int, frame: object) -> None:
        if event.is_set():
            raise KeyboardInterrupt
        event.set()

    before = {s: signal.signal(s, request) for s in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield event
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
