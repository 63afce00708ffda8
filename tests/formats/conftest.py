"""Sound checkpoints for every test here; a test spoils its own copy."""

import shutil

import pytest
from formats.made import checkpoint
from formats.originals import DIFFUSION, UNET, VALUE, write_folder
from oracle.networks import TemporalUnet, ValueFunction

from diffuser_fast.formats import save


@pytest.fixture
def native(tmp_path):
    """A native file."""
    return save(checkpoint(), tmp_path / "a.safetensors")


@pytest.fixture(scope="session")
def sound(tmp_path_factory):
    """The original's folder, with everything in it."""
    folder = tmp_path_factory.mktemp("sound")
    write_folder(folder, TemporalUnet(**UNET), model=UNET, diffusion_config=DIFFUSION, dataset={})
    write_folder(folder / "values", ValueFunction(**VALUE), value=True, epoch=3, model=VALUE)
    return folder


@pytest.fixture
def guided(sound, tmp_path):
    """A copy of it."""
    return shutil.copytree(sound, tmp_path / "run")


@pytest.fixture
def folder(guided):
    """A copy without the value network."""
    shutil.rmtree(guided / "values")
    return guided
