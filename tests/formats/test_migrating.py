"""docs/migrating.md does what it says: its snippets run, on small checkpoints in each library's layout."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from formats import relatives, relatives_conditional
from oracle import relative_objects as objects

from diffuser_fast import cli

DOCUMENT = Path(__file__).parents[2] / "docs" / "migrating.md"
OBJECTS = {
    "accelerate(pipeline)": lambda: {"pipeline": objects.pipeline(), "obs": np.zeros(4, np.float32)},
    "accelerate(lerobot_policy)": lambda: {
        "lerobot_policy": objects.lerobot_policy(),
        "batch": {"observation.state": torch.zeros(1, 3), "observation.environment_state": torch.ones(1, 2)},
    },
    "accelerate(agent)": lambda: {
        "agent": objects.agent(), "prior": torch.zeros(2, 8, 6), "ema_model": objects.decision_diffusion(),
        "obs": torch.zeros(1, 4), "returns": torch.tensor([[0.9]]), "torch": torch,
    },
}  # fmt: skip
FOLDERS = {
    "hopper-pipeline": relatives.diffusers, "cleandiffuser": relatives.cleandiffuser,
    "pusht": relatives_conditional.diffusion_policy, "lerobot-policy": relatives_conditional.lerobot,
    "decision-diffuser": relatives.decision_diffuser, "kuka-run": relatives.kuka,
}  # fmt: skip


def snippets(kind):
    return re.findall(rf"^```{kind}\n(.*?)^```", DOCUMENT.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)


def subject(text):
    """The folder that a snippet speaks of."""
    return next(name for name in (*OBJECTS, *FOLDERS) if name in text)


@pytest.mark.parametrize("snippet", snippets("python"), ids=subject)
def test_a_snippet(snippet, tmp_path, monkeypatch):
    torch.set_grad_enabled(True)
    monkeypatch.chdir(tmp_path)
    if subject(snippet) in OBJECTS:
        names = OBJECTS[subject(snippet)]()
        exec(snippet, names)  # our own document
        assert names["action"].shape[-1] == 2
        return
    relative = FOLDERS[subject(snippet)](tmp_path / subject(snippet))
    (tmp_path / "stats.json").write_text(json.dumps(relative.statistics))
    names = {"obs": relative.observation, "history": relative.observation}
    exec(snippet, names)  # our own document
    assert np.isfinite(names["action"]).all() and names["action"].shape[-1] == (relative.action_dim or 5)


def test_commands(tmp_path, monkeypatch, capsys):
    torch.set_grad_enabled(True)
    monkeypatch.chdir(tmp_path)
    FOLDERS["lerobot-policy"](tmp_path / "lerobot-policy")
    for line in "".join(snippets("sh")).splitlines():
        assert cli.main(line.split()[1:]) == 0, capsys.readouterr()
    shown = capsys.readouterr().out
    assert "FiLM" in shown and "down0.block0.first.conv" in shown and (tmp_path / "planner.safetensors").is_file()
    assert json.loads((tmp_path / "certificate.json").read_text())["passed"]


def test_every_library_has_a_snippet():
    assert {subject(snippet) for snippet in snippets("python")} == {*OBJECTS, *FOLDERS}


@pytest.mark.parametrize("name", FOLDERS)
def test_info_says_what_is_missing(name, tmp_path, capsys):
    torch.set_grad_enabled(True)
    relative = FOLDERS[name](tmp_path / name)
    facts = {"horizon": "--trained-horizon", "action_dim": "--action-dim", "prediction": "--prediction"}
    arguments = []
    if name in ("hopper-pipeline", "cleandiffuser"):
        assert cli.main(["info", str(tmp_path / name)]) == cli.errors.WRONG_INPUT  # and what to pass is said
        assert "--action-dim" in capsys.readouterr().err
        for fact, value in ({"action_dim": 2} | relative.facts).items():
            arguments += [facts[fact], str(value)] if fact in facts else ["--fact", f"{fact}={json.dumps(value)}"]
    assert cli.main(["info", str(tmp_path / name), *arguments, "--json", "--layers"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["deviations"] and bool(record["missing"]) == bool(relative.statistics)
    assert sum(layer["parameters"] for layer in record["layers"]["unet"]) == record["unet"]["parameters"]


@pytest.mark.parametrize(("name", "more"), [("lerobot-policy", []), ("decision-diffuser", ["--condition", "[0.9]"])])
def test_the_command_line_plans(name, more, tmp_path, capsys):
    torch.set_grad_enabled(True)
    relative = FOLDERS[name](tmp_path / name)
    (tmp_path / "stats.json").write_text(json.dumps(relative.statistics))
    more = [*more, *(["--normalizer", str(tmp_path / "stats.json")] if relative.statistics else [])]
    arguments = ["plan", str(tmp_path / name), "--obs", json.dumps(relative.observation.tolist()), "--json", *more]
    assert cli.main(arguments) == 0, capsys.readouterr()
    assert len(json.loads(capsys.readouterr().out)["action"]) == relative.action_dim
