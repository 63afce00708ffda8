"""Train a behaviour policy for a locomotion body, and keep its actor as a small file every so many steps.

    pip install "diffuser-fast[rl]"
    python examples/train_behavior.py hopper --algorithm ppo --steps 1000000 -o runs/hopper-ppo
    python examples/train_behavior.py halfcheetah --algorithm sac --steps 100000 --every 5000 -o runs/halfcheetah-sac

`diffuser-fast data` runs such files with numpy. Those that come with the package were chosen by
examples/choose_behavior.py. PPO: 8 environments, normalised observations and rewards. SAC: one environment, half a
critic update per step, so that it is cheap. A run of SAC that was interrupted goes on from its last file.
"""

import argparse
import os
import shlex
import sys
from pathlib import Path

# Read when jax is loaded: one thread, so that several runs share a machine fairly.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1")

import gymnasium
import numpy as np
import torch
from sbx import PPO, SAC, TQC
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.vec_env import VecNormalize

from diffuser_fast.control.actor import Actor, save_actors
from diffuser_fast.envs.locomotion import BODIES

torch.set_num_threads(1)
HIDDEN = [64, 64]  # of the actor: 25 kB
NORMALIZED = {"clip_obs": np.inf}  # the exported normaliser does not clip either
OFF_POLICY = {
    "learning_rate": 1e-3, "batch_size": 128, "train_freq": 8, "gradient_steps": 4, "policy_delay": 2,
    "learning_starts": 10_000, "policy_kwargs": {"net_arch": {"pi": HIDDEN, "qf": [256, 256]}},
}  # fmt: skip


def exported(model) -> Actor:
    """The actor of a PPO, SAC or TQC model: one head of means and log-deviations, and the normaliser."""
    params = model.policy.actor_state.params["params"]
    dense = [(np.asarray(params[f"Dense_{k}"]["kernel"]).T, np.asarray(params[f"Dense_{k}"]["bias"])) for k in range(3)]
    if isinstance(model, PPO):  # the deviation does not depend on the observation: a bias without weights
        log_std = np.zeros_like(dense[2][0]), np.asarray(params["log_std"])
    else:
        log_std = np.asarray(params["Dense_3"]["kernel"]).T, np.asarray(params["Dense_3"]["bias"])
    dense[2] = tuple(np.concatenate(parts) for parts in zip(dense[2], log_std))
    env, size = model.get_vec_normalize_env(), model.observation_space.shape
    means, stds = np.zeros(size), np.ones(size)
    if env is not None:
        means, stds = env.obs_rms.mean, np.sqrt(env.obs_rms.var + env.epsilon)
    return Actor(
        means=means.astype(np.float32), stds=stds.astype(np.float32),
        weights=tuple(w.astype(np.float32) for w, _ in dense), biases=tuple(b.astype(np.float32) for _, b in dense),
        activation="tanh" if isinstance(model, PPO) else "relu", squash=not isinstance(model, PPO),
    )  # fmt: skip


class Snapshots(BaseCallback):
    """``<steps>.safetensors`` at every multiple of ``every``, and, off-policy, what the run goes on from."""

    def __init__(self, folder: Path, every: int, card: dict) -> None:
        super().__init__()
        self.folder, self.every, self.card, self.last = folder, every, card, None

    def _on_step(self) -> bool:
        mark = self.num_timesteps // self.every
        if self.last is None:
            self.last = mark
        if mark > self.last:
            self.last = mark
            self.keep()
        return True

    def _on_training_end(self) -> None:
        self.keep()

    def keep(self) -> None:
        steps = self.num_timesteps
        save_actors(self.folder / f"{steps:08d}.safetensors", [exported(self.model)], {**self.card, "steps": steps})
        returns = [episode["r"] for episode in self.model.ep_info_buffer]
        if not isinstance(self.model, PPO):
            for name, save in (("model.zip", self.model.save), ("replay.pkl", self.model.save_replay_buffer)):
                save(self.folder / f"new-{name}")
                os.replace(self.folder / f"new-{name}", self.folder / name)
        recent = f"{np.mean(returns):.0f} over the last {len(returns)} episodes" if returns else "no episode yet"
        print(f"{steps:,} steps: return {recent}", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("body", choices=sorted(BODIES))
    parser.add_argument("--algorithm", choices=("ppo", "sac", "tqc"), required=True)
    parser.add_argument("--steps", type=int, required=True)
    parser.add_argument("--every", type=int, default=20_000, help="steps between two files")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("-o", "--out", type=Path, required=True)
    chosen = parser.parse_args()
    chosen.out.mkdir(parents=True, exist_ok=True)
    words = [f"runs/{chosen.out.name}" if word == str(chosen.out) else word for word in sys.argv[1:]]
    command = shlex.join(["python", "examples/train_behavior.py", *words])
    card = {"body": chosen.body, "env": BODIES[chosen.body].env_id, "algorithm": chosen.algorithm,
            "seed": chosen.seed, "command": command, "versions": {"gymnasium": gymnasium.__version__}}  # fmt: skip
    env_id, seed = BODIES[chosen.body].env_id, chosen.seed
    if chosen.algorithm == "ppo":
        env = VecNormalize(make_vec_env(env_id, n_envs=8, seed=seed), **NORMALIZED)
        model = PPO("MlpPolicy", env, n_steps=256, batch_size=256, n_epochs=10, learning_rate=5e-4, seed=seed,
                    policy_kwargs={"net_arch": HIDDEN})  # fmt: skip
    else:
        kind = {"sac": SAC, "tqc": TQC}[chosen.algorithm]
        env = make_vec_env(env_id, n_envs=1, seed=seed)
        if (chosen.out / "model.zip").exists():
            model = kind.load(chosen.out / "model.zip", env=env)
            model.load_replay_buffer(chosen.out / "replay.pkl")
            print(f"goes on from {model.num_timesteps:,} steps", flush=True)
        else:
            model = kind("MlpPolicy", env, seed=seed, buffer_size=chosen.steps, **OFF_POLICY)
    left = chosen.steps - model.num_timesteps
    if left > 0:
        model.learn(left, callback=Snapshots(chosen.out, chosen.every, card), reset_num_timesteps=False)
    return 0


if __name__ == "__main__":
    sys.exit(main())
