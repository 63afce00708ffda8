"""A stream written in blocks is the stream, and is there whole or not at all."""

import numpy as np
import pytest

from diffuser_fast.data import load_stream
from diffuser_fast.data.writer import StreamWriter


def block(start, n):
    rows = np.arange(start, start + n, dtype=np.float32)
    return {
        "observations": np.stack((rows, -rows), 1), "actions": rows[:, None], "rewards": rows,
        "terminals": rows % 7 == 6, "timeouts": rows % 11 == 10, "infos/qpos": rows[:, None] * 2,
    }  # fmt: skip


def written(path, cuts):
    with StreamWriter(path) as writer:
        for start, stop in zip((0, *cuts), (*cuts, 3000)):
            writer.append(block(start, stop - start))
        writer.attributes["env_id"] = "hopper-medium"
    return load_stream(path)


def test_blocks_make_one_stream_however_cut(tmp_path):
    one, two = written(tmp_path / "one.hdf5", ()), written(tmp_path / "two.hdf5", (1, 900, 2049))
    for stream in (one, two):
        whole = block(0, 3000)
        assert stream.attributes["env_id"] == "hopper-medium"
        for name in ("observations", "actions", "rewards", "terminals", "timeouts"):
            np.testing.assert_array_equal(getattr(stream, name), whole[name])
        np.testing.assert_array_equal(stream.infos["qpos"], whole["infos/qpos"])
    assert sorted(f.name for f in tmp_path.iterdir()) == ["one.hdf5", "two.hdf5"]


def test_an_error_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "data.hdf5"
    written(path, ())
    before = path.read_bytes()
    with pytest.raises(RuntimeError, match="power cut"), StreamWriter(path) as writer:
        writer.append(block(0, 10))
        raise RuntimeError("power cut")
    assert path.read_bytes() == before and [f.name for f in tmp_path.iterdir()] == ["data.hdf5"]


def test_unequal_lengths_are_refused(tmp_path):
    with pytest.raises(ValueError, match="expected one length"), StreamWriter(tmp_path / "x.hdf5") as writer:
        writer.append({"observations": np.zeros((3, 2)), "rewards": np.zeros(2)})
    assert not list(tmp_path.iterdir())


def test_a_folder_is_no_file(tmp_path):
    with pytest.raises(IsADirectoryError):
        StreamWriter(tmp_path)
