"""Files that are no bundle, or a damaged one: a status and a sentence; and what a bundle is beside."""

import json
import struct
from dataclasses import replace

import numpy as np
import pytest
from csrc.engines import needs_engine
from safetensors.numpy import load as load_safetensors

import diffuser_fast as dfx
from capi.checkpoints import CDF, H, O, exported, planner
from capi.library import DIFFERS, FILE, UNSUPPORTED, Bundle, CPlanner, Refused, needs_library
from diffuser_fast import conformance as c
from diffuser_fast.bundle import contents
from diffuser_fast.bundle.tensors import digest
from diffuser_fast.core.samplers import Sampling
from diffuser_fast.core.spec import UNetSpec

pytestmark = [needs_engine, *needs_library]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return exported(tmp_path_factory.mktemp("bundle"))


def signed(data):
    """With the digest of its contents."""
    return data[:-64] + digest(data[:-64]).to_bytes(8, "little") + data[-56:]


def changed(data, change):
    """A bundle with another header, as text; and what it does to it."""
    length = struct.unpack("<Q", data[:8])[0]
    text = change(data[8 : 8 + length].decode().rstrip()).encode()
    text += b" " * (-(8 + len(text)) % 64)
    return signed(len(text).to_bytes(8, "little") + text + data[8 + length :])


def with_numbers(data, name, change):
    """A bundle in which the numbers of a tensor are changed in place."""
    length = struct.unpack("<Q", data[:8])[0]
    begin, end = json.loads(data[8 : 8 + length])[name]["data_offsets"]
    dtype = {"I64": np.int64, "I32": np.int32, "F32": np.float32, "F64": np.float64, "U8": np.uint8}
    array = np.frombuffer(
        data[8 + length + begin : 8 + length + end], dtype[json.loads(data[8 : 8 + length])[name]["dtype"]]
    )
    array = array.copy()
    change(array)
    return signed(data[: 8 + length + begin] + array.tobytes() + data[8 + length + end :])


def refused(data, sentence, status=FILE):
    with pytest.raises(Refused) as found:
        Bundle(data)
    assert found.value.status == status and sentence in found.value.text, found.value


def test_it_is_safetensors_and_aligned(data):
    tensors = load_safetensors(data)
    assert tensors["sizes"].tolist()[:3] == [contents.VERSION, 2, 3]
    header = json.loads(data[8 : 8 + struct.unpack("<Q", data[:8])[0]])
    begins = [entry["data_offsets"][0] for name, entry in header.items() if name[0] != "_" and name[:4] != "pad."]
    assert len(begins) > 20 and not any(begin % 64 for begin in begins) and not (data.index(b"}}") + 2) // 8 % 8 % 1
    assert header["__metadata__"]["checkpoint.source"] == 'of "tests"\n\\ and ünïcode'


def test_the_digest_names_it(data, tmp_path):
    assert Bundle(data).info().digest == digest(data[:-64])
    assert exported(tmp_path) == data  # the same planner, the same bytes
    assert digest(b"") != digest(bytes(8)) != digest(bytes(16))


@pytest.mark.parametrize("at", [0.001, 0.3, 0.7, 0.999])
def test_damage(data, at):
    """One bit anywhere, a piece missing, two places swapped."""
    i = int(at * len(data))
    refused(data[:i] + bytes([data[i] ^ 16]) + data[i + 1 :], "", FILE)
    refused(data[: i // 64 * 64], "", FILE)
    refused(data[:i], "", FILE)
    j = len(data) // 2 // 64 * 64
    assert data[j : j + 64] != data[j + 4096 : j + 4160]
    swapped = data[:j] + data[j + 4096 : j + 4160] + data[j + 64 : j + 4096] + data[j : j + 64] + data[j + 4160 :]
    refused(swapped, "damaged: its digest is not that of its contents")


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda t: t.replace('"sizes"', '"sizez"'), "tensor sizes: missing"),
        (lambda t: t.replace('"dtype":"I64"', '"dtype":"F64"', 1), "tensor sizes: of another type"),
        (lambda t: t.replace('"dtype":"I64"', '"dtype":"BF16"', 1), "tensor sizes: of a type that bundles do not have"),
        (lambda t: t.replace('"shape":[21]', '"shape":[16]', 1), "tensor sizes: its shape is not its size"),
        (lambda t: t.replace('"shape":[21]', '"shape":[-21]', 1), "expected a number"),
        (lambda t: t.replace('"shape":[21]', '"shape":[21,99999999999]', 1), "tensor sizes: larger than the file"),
        (lambda t: t.replace('"shape":[21]', '"shape":[99999999999999999999]', 1), "too large"),
        (lambda t: t.replace('"shape":[21]', '"shape":[1,1,1,1,1,1,1,1,21]', 1), "too long"),
        (lambda t: t.replace('"shape":[21],', "", 1), "tensor sizes: without its shape"),
        (lambda t: t.replace('"shape":[21]', '"shape":[21],"shape":[21]', 1), "repeated fields"),
        (lambda t: t.replace('"data_offsets":[0,168]', '"data_offsets":[8,176]', 1), "not at a multiple of 64"),
        (lambda t: t.replace('"data_offsets":[0,168]', '"data_offsets":[168,0]', 1), "beyond the end"),
        (lambda t: t.replace('"data_offsets":[0,168]', '"data_offsets":[0,99999999999]', 1), "beyond the end"),
        (lambda t: t.replace('"variants"', '"sizes"'), "tensor sizes: there twice"),
        (lambda t: t[:-1], "expected }"),
        (lambda t: t + "{", "goes on after its end"),
        (lambda t: "[" + t[1:], "does not begin with a table"),
        (lambda t: t.replace('"digest"', '"digezt"'), "tensor digest: missing"),
    ],
)
def test_headers(data, change, sentence):
    refused(changed(data, change), sentence)


SIZE = {name: i for i, name in enumerate(contents.SIZES)}
VARIANT = {name: i for i, name in enumerate(contents.VARIANT)}


@pytest.mark.parametrize(
    ("name", "at", "value", "sentence"),
    [
        ("sizes", SIZE["action_dim"], -1, "action_dim: found -1"),
        ("sizes", SIZE["observation_dim"], 2**40, "observation_dim: found"),
        ("sizes", SIZE["rows"], 0, "rows: found 0"),
        ("sizes", SIZE["rows"], 5, "choices"),
        ("sizes", SIZE["guided"], 0, ""),
        ("sizes", SIZE["variants"], 2, "tensor variants: found 7 numbers, expected 14"),
        ("sizes", SIZE["weights"], 2, "programs.0.denoiser.weights"),
        ("sizes", SIZE["observations_kind"], 9, "normalizer.observations: an unknown kind"),
        ("sizes", SIZE["observations_kind"], 2, "normalizer.observations.lengths: missing"),
        ("sizes", SIZE["actions_at"], 1, "actions_at: found 1, expected 3 to 3"),
        ("sizes", SIZE["observations_at"], 0, "observations_at: found 0, expected 2 to 2"),
        ("sizes", SIZE["batch"], 0, "batch: found 0"),
        ("sizes", SIZE["menu_rows"], 5, "menu_rows: found 5"),
        ("sizes", SIZE["menu_rows"], 7, "tensor rows.guide_steps"),
        ("sizes", SIZE["table_steps"], 1, "tensor tables.denoiser"),
        ("sizes", SIZE["choices"], 1, "tensor choices.at"),
        ("sizes", SIZE["paths"], 1, "tensor paths.at"),
        ("rows.t", 0, 6, "rows.t: found 6, expected 0 to 5"),
        ("choices.at", 1, 0, "choices.at: found 0, expected 1 to 6"),
        ("choices.rows", 0, -1, "choices.rows: found -1"),
        ("paths.first", 0, 3, "schedule: paths do not begin at 0"),
        ("paths.first", 2, 2**30, "schedule: first_path"),
        ("paths.first", 1, 0, "paths.first: nothing leads from a row to the end"),
        ("paths.at", 1, 0, "schedule: path_at"),
        ("paths.rows", 0, 999999, "schedule: path_rows"),
        ("variants", VARIANT["batch"], 5, "batch: no variant has it"),
        ("variants", VARIANT["horizon"], 16, "programs.0: denoiser: x: length"),
        ("variants", VARIANT["denoiser_size"], 2**26, "programs.0.denoiser: size: more than its values need"),
        ("variants", VARIANT["denoiser_size"], 16, "programs.0.denoiser"),
        ("variants", VARIANT["denoiser_width"], 1, "table"),
        ("programs.0.denoiser.ops", 0, 99, "programs.0.denoiser: op 0: opcode"),
        ("programs.0.gradient.weights", 0, -1, "programs.0.gradient.weights: found -1"),
        ("programs.0.denoiser.layouts", 0, 5, "programs.0.denoiser: op"),
        ("rows.guide_steps", 0, -1, "rows.guide_steps: found -1, expected 0 to 256"),
        ("rows.guide_steps", 0, 257, "rows.guide_steps: found 257"),
        ("normalizer.actions.second", 1, np.nan, "normalizer.actions: a number that is not finite"),
        ("normalizer.actions.second", 1, -9.0, "normalizer.actions: a largest value that is not above"),
    ],
)  # fmt: skip
def test_numbers(data, name, at, value, sentence):
    refused(with_numbers(data, name, lambda a: a.__setitem__(at, value)), sentence)


def test_versions(data):
    newer = with_numbers(data, "sizes", lambda a: a.__setitem__(0, contents.VERSION + 1))
    refused(newer, f"version: this library reads bundles of version {contents.VERSION}", UNSUPPORTED)


@pytest.mark.parametrize(("at", "value"), [(0, 0), (0, 99), (1, -3)])
def test_curves(tmp_path, at, value):
    data = exported(tmp_path, planner(kind=CDF))
    Bundle(data)
    refused(with_numbers(data, "normalizer.actions.lengths", lambda a: a.__setitem__(at, value)), "normalizer.actions")
    refused(with_numbers(data, "normalizer.actions.first", lambda a: a.__setitem__(1, -1e9)), "a curve that does not")


def test_the_self_test_can_fail(data):
    Bundle(data).self_test()
    names = [name for name in load_safetensors(data) if name.startswith("test.") and name.endswith(".observations")]
    wrong = data
    for name in names:
        if name.count(".") == 2:
            wrong = with_numbers(wrong, name, lambda a: a.__setitem__(7, np.nextafter(a[7], np.float32(9))))
    with pytest.raises(Refused, match="observations: number 7 is") as found:
        Bundle(wrong).self_test()
    assert found.value.status == DIFFERS


def test_weights_that_are_not_finite(data):
    """Nothing looks at them when they are opened; a plan says so."""
    bundle = Bundle(with_numbers(data, "weights.00000", lambda a: a.fill(np.nan)))
    with pytest.raises(Refused, match="denoising step 0: the plan is no longer finite"):
        CPlanner(bundle).plan({0: np.zeros(O)})


def test_what_cannot_be_exported(tmp_path):
    with pytest.raises(TypeError, match="planner: expected a Planner, found Checkpoint"):
        dfx.export(planner().checkpoint, tmp_path / "x.dfb")
    with pytest.raises(ValueError, match=r"horizon.*20|20.*horizon"):
        dfx.export(planner(), tmp_path / "x.dfb", horizons=[20])
    with pytest.raises(ValueError, match="batch_sizes"):
        dfx.export(planner(), tmp_path / "x.dfb", batch_sizes=[0])
    with pytest.raises(OSError):
        dfx.export(planner(), tmp_path / "none" / "x.dfb")
    conditioned = c.random_checkpoint(UNetSpec(8, 5, dim=32, dim_mults=(1, 2), condition=4), action_dim=2)
    with pytest.raises(ValueError, match="planner: its network takes a condition, which a bundle does not hold yet"):
        dfx.export(dfx.Planner(conditioned, "cpu"), tmp_path / "x.dfb")
    with pytest.raises(ValueError, match="planner: it has 257 guide steps"):
        dfx.export(planner(guide=dfx.Guide(n_steps=257)), tmp_path / "x.dfb")
    clipped = replace(planner(clip=True).checkpoint, sampling=Sampling(final=True))
    with pytest.raises(ValueError, match="planner: its last clip is of what is given"):
        dfx.export(dfx.Planner(clipped, "cpu"), tmp_path / "x.dfb")
    quiet = replace(planner().checkpoint, sampling=Sampling(first_noise=0.5))
    with pytest.raises(ValueError, match=r"planner: its first noise is multiplied by 0\.5"):
        dfx.export(dfx.Planner(quiet, "cpu"), tmp_path / "x.dfb")
    assert not list(tmp_path.iterdir())


def test_a_file_that_cannot_be_finished_is_not_there(tmp_path, monkeypatch):
    """Nor is the one before it lost."""
    path = dfx.export(planner(), tmp_path / "planner.dfb")
    before = path.read_bytes()

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space"):
        dfx.export(planner(guided=False), path)
    assert path.read_bytes() == before and [p.name for p in tmp_path.iterdir()] == ["planner.dfb"]
    assert H == 8
