"""The native file: what goes in comes out, and what is not one is said to be not one."""

import json
import os
import stat
import subprocess
import sys

import numpy as np
import pytest
from formats.made import UNET, VALUE, checkpoint, same, weights
from safetensors import numpy as safetensors

from diffuser_fast.core.checkpoint import Weights
from diffuser_fast.core.lower import lower
from diffuser_fast.core.normalizers import CDF, Normalizers
from diffuser_fast.formats import native


@pytest.fixture
def file(tmp_path):
    return native.save(checkpoint(), tmp_path / "a.safetensors")


def parts(file):
    """(header record, tensors) of a native file."""
    header = native.read_header(file)
    return json.loads(header["__metadata__"]["diffuser-fast"]), safetensors.load(file.read_bytes())


def rewrite(file, record, tensors):
    text = record if isinstance(record, str) else json.dumps(record)
    file.write_bytes(safetensors.save(tensors, metadata={"diffuser-fast": text}))


def refuses(file, message=None):
    with pytest.raises(ValueError, match=message) as caught:
        native.load(file)
    assert str(caught.value).startswith(f"{file}: ") and "\n" not in str(caught.value)


@pytest.mark.parametrize("changes", [{}, {"value": None}, {"normalizers": None}, {"metadata": {}}])
def test_round_trip_in_every_bit(tmp_path, changes):
    before = checkpoint(**changes)
    path = native.save(before, str(tmp_path / "a.safetensors"))
    same(native.load(path), before)


def test_a_cdf_normaliser_is_tensors(tmp_path):
    """Its statistics are as long as the data, which a JSON header is not made for."""
    data = np.random.default_rng(0).normal(size=(50, 5))
    data[:, 1] = 2.0
    before = checkpoint(normalizers=Normalizers(CDF.fit(data[:, :3]), CDF.fit(data[:, 3:])))
    path = native.save(before, tmp_path / "a.safetensors")
    same(native.load(path), before)
    record, tensors = parts(path)
    assert record["normalizers"] == {"normalizer": "CDFNormalizer"}
    assert tensors["normalizers.observations.cumprobs.1"].tolist() == [1.0]
    missing = {name: array for name, array in tensors.items() if name != "normalizers.actions.quantiles.1"}
    rewrite(path, record, missing)
    refuses(path, "quantiles and cumprobs: of 1 and 2 dimensions")
    rewrite(path, record, {**tensors, "normalizers.actions.quantiles.x": tensors["normalizers.actions.quantiles.1"]})
    refuses(path, "tensor normalizers.actions.quantiles.x is none that the header speaks of")
    rewrite(path, {**record, "normalizers": []}, tensors)
    refuses(path, "tensor normalizers.* is none that the header speaks of")
    rewrite(path, record, {**tensors, "normalizers.actions.quantiles.0": np.zeros(50)})
    refuses(path, r"quantiles\[0\] and cumprobs\[0\]: must ascend")


def test_awkward_floats_survive(tmp_path):
    arrays = {name: array.copy() for name, array in weights(UNET).arrays.items()}
    awkward = [-0.0, 1e-45, 3.4028235e38, -1e-38, 1 + 2**-23]
    arrays["head.out.bias"][:] = awkward
    before = checkpoint(unet=Weights(UNET, arrays))
    same(native.load(native.save(before, tmp_path / "a.safetensors")), before)


def test_the_same_checkpoint_gives_the_same_bytes(tmp_path, file):
    code = (
        "import sys; from formats.made import checkpoint; from diffuser_fast.formats import native;"
        "native.save(checkpoint(), sys.argv[1])"
    )
    other = tmp_path / "b.safetensors"
    env = {**os.environ, "PYTHONHASHSEED": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run([sys.executable, "-c", code, other], check=True, env=env)
    assert other.read_bytes() == file.read_bytes()


def test_float16_is_half_the_size_and_rounds_once(tmp_path, file):
    before = checkpoint()
    half = native.save(before, tmp_path / "half.safetensors", dtype="float16")
    found = native.load(half)
    assert half.stat().st_size < 0.7 * file.stat().st_size
    for name, array in before.unet.arrays.items():
        np.testing.assert_array_equal(found.unet.arrays[name], array.astype(np.float16).astype(np.float32))
    np.testing.assert_array_equal(found.schedule.betas, before.schedule.betas)
    assert found.normalizers.to_json() == before.normalizers.to_json()


@pytest.mark.parametrize("part", ["unet", "value"])
def test_float16_refuses_what_is_beyond_its_range(tmp_path, part):
    spec = {"unet": UNET, "value": VALUE}[part]
    arrays = {name: array.copy() for name, array in weights(spec).arrays.items()}
    arrays["time.linear1.bias"][3] = -70_000
    path = tmp_path / "a.safetensors"
    with pytest.raises(ValueError, match=rf"dtype: {part}.time.linear1.bias holds 70000, float16 ends at 65504"):
        native.save(checkpoint(**{part: Weights(spec, arrays)}), path, dtype="float16")
    assert not list(tmp_path.iterdir())
    native.save(checkpoint(**{part: Weights(spec, arrays)}), path)


def test_save_refuses(tmp_path):
    with pytest.raises(ValueError, match="dtype: found 'bfloat16', expected one of float32, float16"):
        native.save(checkpoint(), tmp_path / "a", dtype="bfloat16")
    for value in (object(), float("nan"), {1, 2}):
        with pytest.raises(ValueError, match="metadata: must be plain JSON values"):
            native.save(checkpoint(metadata={"x": value}), tmp_path / "a")
    assert not list(tmp_path.iterdir())


def test_numbers_of_numpy_are_plain(tmp_path):
    before = checkpoint(metadata={"step": np.int64(3), "loss": np.float64(0.1)})
    assert native.load(native.save(before, tmp_path / "a")).metadata == {"step": 3, "loss": 0.1}


@pytest.mark.skipif(os.name != "posix", reason="modes are POSIX's")
def test_files_have_the_mode_others_have(tmp_path, file):
    (tmp_path / "plain").write_bytes(b"")
    assert stat.S_IMODE(file.stat().st_mode) == stat.S_IMODE((tmp_path / "plain").stat().st_mode)


def test_truncated_anywhere(file):
    whole = file.read_bytes()
    header = 8 + int.from_bytes(whole[:8], "little")
    for size in [0, 1, 7, 8, 9, 100, header - 1, header, header + 1, len(whole) // 2, len(whole) - 1]:
        file.write_bytes(whole[:size])
        refuses(file, "cut short|not a safetensors file")
    refuses(file, f"cut short; it has {len(whole) - 1} bytes, its header asks for {len(whole)}")


def test_foreign_files(file):
    file.write_bytes(safetensors.save({"encoder.weight": np.zeros(3, np.float32)}, metadata={"format": "pt"}))
    refuses(file, r"safetensors of another program \(it holds encoder.weight\), expected one of diffuser-fast")
    file.write_bytes(safetensors.save({"w": np.zeros(3, np.float32)}))
    refuses(file, "safetensors of another program")
    for content in (b"PK\x03\x04" * 20, b"\x00" * 200, b"{}" * 50, (50).to_bytes(8, "little") + b"x" * 60):
        file.write_bytes(content)
        refuses(file, "not a safetensors file")


@pytest.mark.parametrize("header", ["[]", '{"a": 1}', '{"a": {}}', '{"a": {"data_offsets": 3}}', "{" * 5000])
def test_headers_that_are_no_table(file, header):
    file.write_bytes(len(header).to_bytes(8, "little") + header.encode())
    refuses(file, "not a safetensors file")


@pytest.mark.parametrize("version", [3, 99])
def test_a_newer_version(file, version):
    record, tensors = parts(file)
    rewrite(file, {**record, "version": version, "unet": "whatever a later release means"}, tensors)
    refuses(file, rf"its format version is {version}, this release reads up to 2; .*pip install -U diffuser-fast")


@pytest.mark.parametrize("version", [None, "1", 0, -1, True, 1.5])
def test_a_version_that_is_none(file, version):
    record, tensors = parts(file)
    rewrite(file, {**record, "version": version}, tensors)
    refuses(file, "its format version is .*, expected a whole number")


@pytest.mark.parametrize("missing", ["unet.head.out.bias", "value.head.linear1.weight", "schedule.betas"])
def test_missing_tensors(file, missing):
    record, tensors = parts(file)
    del tensors[missing]
    rewrite(file, record, tensors)
    part, _, name = missing.partition(".")
    refuses(file, rf"{part}: .*missing.*{name}|{part}: buffers \['{name}'\] are missing")


@pytest.mark.parametrize("extra", ["unet.x", "value.x", "schedules.betas", "x", "unet", "unet."])
def test_tensors_that_nobody_asked_for(file, extra):
    record, tensors = parts(file)
    rewrite(file, record, {**tensors, extra: np.zeros(3, np.float32)})
    refuses(file, "not expected x|none that the header speaks of")


def test_tensors_of_another_shape_or_not_finite(file):
    record, tensors = parts(file)
    rewrite(file, record, {**tensors, "unet.head.out.bias": np.zeros(4, np.float32)})
    refuses(file, r"unet: weights: head.out.bias has shape \[4\], the spec needs \[5\]")
    rewrite(file, record, {**tensors, "value.head.linear2.bias": np.array([np.nan], np.float32)})
    refuses(file, "value: weights: head.linear2.bias holds numbers that are not finite")


def test_a_value_network_that_the_header_does_not_have(file):
    record, tensors = parts(file)
    rewrite(file, {**record, "value": None}, tensors)
    refuses(file, r"tensor value\..* is none that the header speaks of")


def test_every_field_of_the_header_is_needed(file):
    record, tensors = parts(file)
    for name in record.keys() - {"dtype"}:
        rewrite(file, {key: value for key, value in record.items() if key != name}, tensors)
        refuses(file)


@pytest.mark.parametrize("value", [None, 3, -1, 2.5, "x", [], {}, True, {"kind": "unet"}])
def test_no_field_of_the_header_is_trusted(file, value):
    record, tensors = parts(file)
    allowed = {
        "action_dim": [3],
        "clip_denoised": [True],
        "normalizers": [None],
        "guide": [{}],
        "sampling": [{}],
        "acting": [{}],
        "clip_range": [3, 2.5],
        "inverse": [None],
        "metadata": [{}, {"kind": "unet"}],
    }
    for name in record.keys() - {"dtype", "version"}:
        rewrite(file, {**record, name: value}, tensors)
        if not any(value == good and type(value) is type(good) for good in allowed.get(name, [])):
            refuses(file)


@pytest.mark.parametrize("text", ["", "[]", "3", "{", "[" * 100_000, '{"format": "other"}'])
def test_a_record_that_is_damaged(file, text):
    _, tensors = parts(file)
    rewrite(file, text, tensors)
    refuses(file, "its diffuser-fast header is damaged")


def test_flipped_bytes_never_surprise(file):
    """Damage loads as other numbers or gives one clear error, whatever it hits."""
    whole = bytearray(file.read_bytes())
    header = 8 + int.from_bytes(whole[:8], "little")
    rng = np.random.default_rng(0)
    for _ in range(300):
        damaged = bytearray(whole)
        damaged[int(rng.integers(header))] ^= int(rng.integers(1, 256))
        file.write_bytes(damaged)
        try:
            native.load(file)
        except ValueError as error:
            assert str(error).startswith(str(file)) and "\n" not in str(error)


def test_sizes_of_a_header_are_not_believed(file):
    record, tensors = parts(file)
    rewrite(file, {**record, "unet": {**record["unet"], "dim": 4096, "dim_mults": [4096, 4096]}}, tensors)
    refuses(file, "unet: weights: ")


def test_no_such_file(tmp_path):
    with pytest.raises(FileNotFoundError):
        native.load(tmp_path / "none")


def test_torch_is_never_imported(file):
    code = (
        "import sys\n"
        "sys.modules['torch'] = None  # importing it would raise\n"
        "from diffuser_fast import formats\n"
        "from diffuser_fast.core.loop import sampling_loop\n"
        "from diffuser_fast.core.samplers import ddpm\n"
        "c = formats.load(sys.argv[1])\n"
        "sampling_loop(c, ddpm(c.schedule), guide=c.guide)\n"
        "formats.save(c, sys.argv[1])\n"
        "print(sorted(m for m in sys.modules if m.split('.')[0] in ('torch', 'mujoco', 'h5py', 'jax')))"
    )
    done = subprocess.run([sys.executable, "-c", code, file], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "['torch']"


def test_names_of_tensors_are_those_of_the_networks(file):
    _, tensors = parts(file)
    expected = {f"unet.{n}" for n in lower(UNET).weights} | {f"value.{n}" for n in lower(VALUE).weights}
    assert {n for n in tensors if not n.startswith("schedule.")} == expected
    assert all(t.dtype == (np.float64 if n.startswith("schedule.") else np.float32) for n, t in tensors.items())
