"""Choose behaviour policies among the files that examples/train_behavior.py left, by their return.

    python examples/choose_behavior.py measure runs/hopper-ppo --episodes 10
    python examples/choose_behavior.py bundle hopper-medium runs/hopper-ppo/00340000.safetensors -o actors

`measure` rolls every file out and writes returns.json beside them. `bundle` puts one or more policies into one file,
measures each over 100 episodes, and writes its card: how it was trained and what it returns. Episodes have sampled
actions, as the data has, and seeds that the data does not use.
"""

import argparse
import json
import sys
from pathlib import Path

import numpy as np

from diffuser_fast.control.actor import load_actors, save_actors
from diffuser_fast.control.behavior import episode
from diffuser_fast.envs import normalized_score
from diffuser_fast.envs.locomotion import make_body

SEED = 1_000_000  # data sets are made with seeds of their own


def returns(body, actor, episodes):
    """Mean return, its standard error and the mean length over episodes."""
    env = make_body(body)
    made = [episode(env, actor, np.random.SeedSequence([SEED, e])) for e in range(episodes)]
    sums = np.array([m["rewards"].sum(dtype=np.float64) for m in made])
    return {
        "mean_return": round(float(sums.mean()), 1),
        "standard_error": round(float(sums.std(ddof=1) / episodes**0.5), 1),
        "normalized": round(float(normalized_score(body, sums.mean())), 1),
        "mean_length": round(float(np.mean([len(m["rewards"]) for m in made])), 1),
        "episodes": episodes,
    }


def measure(folder, episodes):
    """Every file of a run; those already measured over as many episodes are kept."""
    path = folder / "returns.json"
    found = json.loads(path.read_text()) if path.exists() else {}
    for file in sorted(folder.glob("*.safetensors")):
        if found.get(file.name, {}).get("episodes") != episodes:
            (actor,), card = load_actors(file)
            found[file.name] = returns(card["body"], actor, episodes)
            path.write_text(json.dumps(found, indent=1) + "\n")
        print(file.name, found[file.name], flush=True)


def bundle(name, files, out, episodes):
    """One file of all policies, and its card."""
    actors, policies, body = [], [], name.partition("-")[0]
    for file in files:
        (actor,), card = load_actors(file)
        if card["body"] != body:
            raise SystemExit(f"{file}: a policy of {card['body']}, expected {body}")
        actors.append(actor)
        policies.append({**{k: card[k] for k in ("algorithm", "seed", "steps")}, **returns(body, actor, episodes)})
        print(file, policies[-1], flush=True)
    card = {"name": name, "env": card["env"], "policies": policies, "command": card["command"],
            "versions": card["versions"]}  # fmt: skip
    save_actors(out / f"{name}.safetensors", actors, card)
    (out / f"{name}.json").write_text(json.dumps(card, indent=2) + "\n")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    one = commands.add_parser("measure")
    one.add_argument("folder", type=Path)
    one.add_argument("--episodes", type=int, default=10)
    two = commands.add_parser("bundle")
    two.add_argument("name", help="hopper-medium, walker2d-replay, ...")
    two.add_argument("files", type=Path, nargs="+")
    two.add_argument("-o", "--out", type=Path, required=True)
    two.add_argument("--episodes", type=int, default=100)
    chosen = parser.parse_args()
    if chosen.command == "measure":
        measure(chosen.folder, chosen.episodes)
    else:
        bundle(chosen.name, chosen.files, chosen.out, chosen.episodes)
    return 0


if __name__ == "__main__":
    sys.exit(main())
