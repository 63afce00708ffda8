"""Commands called as a person calls them."""

import json

import pytest

from diffuser_fast.cli import main


@pytest.fixture
def run(capsys):
    """Call a command: exit code, standard output, standard error."""

    def call(*words):
        code = main([str(word) for word in words])
        return code, *capsys.readouterr()

    return call


@pytest.fixture
def record(run):
    """Call a command with --json: its record."""

    def call(*words):
        code, out, err = run(*words, "--json")
        assert code == 0, err
        return json.loads(out)

    return call


@pytest.fixture
def refusal(run):
    """Call a command that must fail: its one error line, with nothing on standard output and no traceback."""

    def call(*words, code=2):
        found, out, err = run(*words)
        assert found == code and out == "", (found, out, err)
        lines = [line for line in err.splitlines() if line.lower().startswith("error:")]
        assert len(lines) == 1 and "Traceback" not in err, err
        return lines[0]

    return call


@pytest.fixture
def folder(tmp_path):
    """A folder of the original's, without a value network and without statistics."""
    from formats.originals import DIFFUSION, UNET, write_folder
    from oracle.networks import TemporalUnet

    write_folder(tmp_path / "original", TemporalUnet(**UNET), model=UNET, diffusion_config=DIFFUSION, dataset={})
    return tmp_path / "original"
