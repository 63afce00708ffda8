"""Foreign pickles: read as data or refused in one sentence, and never run, whatever they ask for."""

import argparse
import collections
import datetime
import os
import pathlib
import pickle
import pickletools
import random
import subprocess
import time

import numpy as np
import pytest
from formats.originals import SIZES, Config, modules_of_the_original, write_config

from diffuser_fast.formats.unpickle import Name, Record, read_pickle

PROTOCOLS = range(pickle.HIGHEST_PROTOCOL + 1)


@pytest.fixture
def file(tmp_path):
    return tmp_path / "model_config.pkl"


@pytest.fixture
def read(file):
    def read(content, protocol=4):
        file.write_bytes(content if isinstance(content, bytes) else pickle.dumps(content, protocol=protocol))
        return read_pickle(file)

    return read


def refuses(read, content, message, protocol=4):
    with pytest.raises(ValueError, match=message) as caught:
        read(content, protocol)
    assert "model_config.pkl: " in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_plain_data(read, protocol):
    value = {
        "numbers": [0, -1, 255, 65536, 2**40, -(2**60), 1.5, float("inf"), True, False, None],
        "words": ["", "a b\nc", "über", "x" * 300],
        "tuples": [(), (1,), (1, 2), (1, 2, 3), (1, 2, 3, 4)],
        "sets": [set(), {1, 2}, frozenset({"a"})],
        ("a", 1): {"nested": {"deep": [{}]}},
    }
    assert read(value, protocol) == value


@pytest.mark.parametrize("protocol", range(3, pickle.HIGHEST_PROTOCOL + 1))
def test_bytes(read, protocol):
    assert read({"short": b"abc", "long": b"x" * 1000}, protocol) == {"short": b"abc", "long": b"x" * 1000}


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_containers_of_the_library_become_plain(read, protocol):
    value = [collections.OrderedDict(a=1, b=(2,)), collections.defaultdict(list, c=[3])]
    found = read(value, protocol)
    assert found == [{"a": 1, "b": (2,)}, {"c": [3]}] and all(type(item) is dict for item in found)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_objects_become_records_and_classes_names(read, protocol):
    found = read({"space": argparse.Namespace(horizon=32, kind=argparse.ArgumentParser)}, protocol)
    space = found["space"]
    assert isinstance(space, Record) and space.type == Name("argparse", "Namespace")
    assert space.state == {"horizon": 32, "kind": Name("argparse", "ArgumentParser")}


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_configuration_of_the_original(file, protocol):
    write_config(file, "TemporalUnet", SIZES, protocol)
    found = read_pickle(file)
    assert str(found.type) == "diffuser.utils.config.Config"
    assert found.state["_class"] == Name("diffuser.models", "TemporalUnet") and found.state["_dict"] == SIZES


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_shared_and_recursive_references(read, protocol):
    shared = [1]
    loop = {"a": shared, "b": shared}
    loop["self"] = loop
    found = read(loop, protocol)
    assert found["self"] is found and found["a"] is found["b"]


# What hostile pickles ask for. A canary file shows whether anything was run.
class Asks:
    def __init__(self, function, *arguments):
        self.reduced = function, arguments

    def __reduce__(self):
        return self.reduced


@pytest.fixture
def canary(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "canary"
    yield path
    assert not path.exists(), "something was run"


def hostile(canary):
    """What the error must name -> what asks for it."""
    return {
        r"posix\.system": Asks(os.system, f"touch {canary}"),
        r"\.eval": Asks(eval, f"open({str(canary)!r}, 'w')"),
        r"\.exec": Asks(exec, f"open({str(canary)!r}, 'w')"),
        r"\.__import__": Asks(__import__, "os"),
        r"\.getattr": Asks(getattr, "os", "system"),
        r"io\.open": Asks(open, str(canary), "w"),
        r"\.Popen": Asks(subprocess.Popen, ["touch", str(canary)]),
        r"\.x?range": range(3),
        r"datetime.datetime|_codecs.encode": datetime.datetime(2020, 1, 1),
    }


@pytest.mark.skipif(os.name != "posix", reason="os.system has another name")
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_what_would_run_code_is_refused_by_name(read, canary, protocol):
    for name, value in hostile(canary).items():
        for content in (value, {"a": [1, value]}, (value, value)):
            message = f"the pickle asks to call .*({name}); only inert records are read, so nothing was run"
            refuses(read, content, message, protocol)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_hidden_inside_a_configuration(file, read, canary, protocol):
    kind = type("TemporalUnet", (), {})
    with modules_of_the_original(TemporalUnet=kind):
        content = pickle.dumps(Config(kind, {"horizon": Asks(os.system, f"touch {canary}")}), protocol)
    refuses(read, content, "asks to call .*system")


def test_naming_something_is_harmless_and_imports_nothing(tmp_path, read, canary, monkeypatch):
    (tmp_path / "trap.py").write_text(f"open({str(canary)!r}, 'w')")
    monkeypatch.syspath_prepend(tmp_path)
    assert read(b"ctrap\nanything\n.") == Name("trap", "anything")
    assert read(b"\x80\x04\x8c\x04trap\x8c\x03a.b\x93.") == Name("trap", "a.b")
    assert read(b"\x80\x02ctrap\nKind\n)\x81.").type == Name("trap", "Kind")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"cos\nsystem\n(S'touch canary'\ntR.", "asks to call os.system"),
        (b"(S'touch canary'\nios\nsystem\n.", "uses INST"),
        (b"(cos\nsystem\nS'touch canary'\no.", "uses OBJ"),
        (b"\x80\x02cos\nsystem\nU\x0ctouch canary\x85\x81.", "asks to call os.system with arguments"),
        (
            b"\x80\x04\x8c\x02os\x8c\x06system\x93)}\x8c\x01a\x8c\x01bs\x92.",
            "asks to call os.system with arguments",
        ),
        (b"cos\nsystem\n}b.", "sets the state of a os.system"),
        (b"Pname\n.", "uses PERSID"),
        (b"\x80\x02U\x04nameQ.", "refers to something outside of it"),
        (b"\x82\x01.", "uses EXT1"),
        (b"\x80\x05\x97.", "uses NEXT_BUFFER"),
        (b"]cos\nsystem\n)\x81a(lR.", "asks to call list"),
        (b"I1\n)R.", "asks to call int"),
        (b"}(I1\nI2\nu}b.", "sets the state of a dict"),
        (b"cx\ny\n)\x81]b.", "sets the state of a x.y from a list"),
        (b"cx\ny\n)\x81I1\na.", "appends to a x.y"),
        (b"cx\ny\n)\x81I1\nI2\ns.", "sets items of a x.y"),
        (b"}]I1\ns.", "uses a list as a key"),
        (
            b"ccopyreg\n_reconstructor\n(cx\ny\ncbuiltins\nlist\n(ltR.",
            "asks to make a x.y out of builtins.list",
        ),
    ],
)
def test_every_other_way_to_call(read, canary, content, message):
    refuses(read, content, message)


@pytest.mark.parametrize(
    "content",
    [
        b"", b".", b"a.", b"0.", b"t.", b"(.", b"(a.", b"]I1\n", b"I1", b"garbage", b"\xff\xfe", b"g5\n.", b"h\x05.",
        b"\x80\x04\x95", b"}(I1\nu.", b"\x8cX", b"X\xff\xff\xff\x7fabc", b"I1\nI2\n\x93.", b"I1\n)\x81.", b"u.", b"e.",
        b"cx\n", b"(0.", b"Ix\n.",
    ],
)  # fmt: skip
def test_what_is_no_whole_pickle(read, content):
    refuses(read, content, "not a whole pickle")


def test_truncated_anywhere(file, read):
    write_config(file, "TemporalUnet", SIZES)
    whole = file.read_bytes()
    for size in range(len(whole)):
        refuses(read, whole[:size], "not a whole pickle")


def doubled(depth):
    """A tuple of two references to a tuple of two references ... : tiny as a file, 2^depth when walked."""
    return b"\x80\x04)" + b"\x94h\x00\x86".replace(b"h\x00", b"2") * depth


@pytest.mark.parametrize(
    "content",
    [
        doubled(5000) + b".",
        b"}" + doubled(5000)[2:] + b"I1\ns.",  # as a key: hashing it would take for ever
        b"\x80\x04)" + b"\x85" * 200_000 + b".",  # nested as deep as the file is long
        b"]" * 200_000 + b"a" * 199_999 + b".",
        b"\x80\x04\x8f(" + doubled(60)[2:] + b"\x90.",
        b"\x8a\xff" + b"\xff" * 255 + b".",  # a number of 2040 bits
        b"\x80\x04\x8b\xff\xff\xff\x7f" + b"1" * 100,  # a length that is not there
        b"\x80\x04\x8e" + (1 << 62).to_bytes(8, "little") + b"abc.",
        b"\x80\x04]q\x00(" + b"I1\n" * 100_000 + b"e0" + b"cbuiltins\ntuple\n(h\x00tR0" * 30_000 + b".",  # copied often
        b"cx\ny\n)\x81}(" + b"".join(b"I%d\nI1\n" % i for i in range(40_000)) + b"uq\x00" + b"bh\x00" * 100_000 + b".",
        b"(" * 200_000 + b"." ,
        b"(" * 100_000 + b"l" * 100_000 + b".",
        b"I1\n" * 100_000 + b"(l" * 200_000 + b".",
    ],
    ids=range(13),
)  # fmt: skip
def test_bombs_are_small(read, content):
    """Whatever a file of under a mebibyte asks for takes seconds and megabytes at the most."""
    assert len(content) < 1 << 20
    start = time.process_time()
    try:
        value = read(content)
        del value
    except ValueError as error:
        assert "model_config.pkl: " in str(error)
    assert time.process_time() - start < 10


def test_large_files_are_not_read(read, file):
    refuses(read, b"]" + b" " * (1 << 20), "larger than 1048576 bytes, which no configuration is")


def test_damaged_configurations_never_surprise(file, read):
    write_config(file, "TemporalUnet", SIZES)
    whole, rng = file.read_bytes(), random.Random(0)
    for _ in range(300):
        damaged = bytearray(whole)
        for _ in range(rng.randint(1, 4)):
            damaged[rng.randrange(len(whole))] = rng.randrange(256)
        try:
            read(bytes(damaged))
        except ValueError as error:
            assert "model_config.pkl: " in str(error) and "\n" not in str(error)


def test_random_opcodes_never_surprise(read):
    rng, codes = random.Random(0), [opcode.code.encode("latin-1") for opcode in pickletools.opcodes]
    for _ in range(400):
        tails = [b"", b"1\n", b"\x01", b"\x00", b"a\nb\n"]
        parts = [rng.choice(codes) + rng.choice(tails) for _ in range(rng.randint(1, 20))]
        try:
            read(b"".join(parts) + b".")
        except ValueError as error:
            assert "model_config.pkl: " in str(error) and "\n" not in str(error)


def test_names_are_printed_on_one_line(read):
    name = b"\x80\x04X\xd0\x07\x00\x00" + b"a\n" * 1000 + b"\x8c\x01b\x93)R."
    refuses(read, name, r"asks to call 'a\\na")


def test_names_cannot_be_called():
    with pytest.raises(TypeError):
        Name("os", "system")("touch canary")


DATA = {
    "float64": np.float64(0.5), "float32": np.float32(0.5), "int64": np.int64(-3), "uint8": np.uint8(200),
    "bool": np.bool_(True), "text": np.str_("run"), "big": np.array(258, ">i4")[()],
    "path": pathlib.PurePosixPath("/a/b"), "windows": pathlib.PureWindowsPath("C:/a"), "here": pathlib.Path("logs"),
    "slice": slice(0, 10, None), "bytes": b"abc",
}  # fmt: skip


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_numbers_of_numpy_paths_and_slices(read, protocol):
    """What configurations hold beside Python's own: read as Python's own."""
    found = read(DATA, protocol)
    expected = {"float64": 0.5, "float32": 0.5, "int64": -3, "uint8": 200, "bool": True, "text": "run", "big": 258}
    expected |= {"path": "/a/b", "windows": "C:\\a", "here": "logs", "slice": slice(0, 10, None), "bytes": b"abc"}
    assert found == expected and {type(v) for v in found.values()} == {float, int, bool, str, slice, bytes}


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_arrays_of_numbers(read, protocol):
    arrays = [np.arange(6.0).reshape(2, 3), np.asfortranarray(np.arange(6).reshape(2, 3)), np.array([], np.float32)]
    arrays += [np.array([1, 258], ">i2"), np.array([True, False]), np.array(["a", "bc"]), np.arange(8)[::2]]
    for array, found in zip(arrays, read(arrays, protocol), strict=True):
        np.testing.assert_array_equal(np.asarray(found), array)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_what_numpy_would_have_to_run(read, canary, protocol):
    """Arrays of objects are pickles themselves; records and times are left alone."""
    trap = Asks(os.system, f"touch {canary}")
    for value in (np.array([trap]), np.array([{}]), np.array([1], "M8[D]"), np.zeros(2, "f4,f4"), np.datetime64("now")):
        message = "the pickle (holds numpy|asks to call .*system).*; only inert records are read, so nothing was run"
        refuses(read, value, message, protocol)
    odd = np.random.default_rng(0)
    refuses(read, odd, "asks to call numpy.random", protocol)


@pytest.mark.parametrize(
    "state",
    [
        b"(I1\n(I1000000000\nI1000000000\ntNI00\nS''\nt",  # a shape that no content fills
        b"(I1\n(I-1\ntNI00\nS'abc'\nt",
        b"(I1\ntNt",
        b"Nt",
    ],
)
def test_arrays_that_are_none(read, state):
    refuses(
        read,
        b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I0\ntS'b'\ntR" + state + b"b.",
        "the pickle holds|not a whole pickle",
    )
