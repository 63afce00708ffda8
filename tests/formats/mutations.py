"""Files with one thing wrong: what a download, an editor or someone hostile makes of a checkpoint's folder."""

import json
import shutil
import zipfile

STRANGE = [
    None,
    True,
    -1,
    0,
    3,
    1 << 70,
    1e300,
    0.5,
    "x",
    "",
    "../../a",
    [],
    [1],
    {},
    {"a": [[]]},
    "${a.b}",
    "DDIM",
    "[" * 90,
]
# Pickles that ask for calls, put in the place of an archive's own.
HOSTILE = [
    b"cos\nsystem\n(S'touch {canary}'\ntR.",
    b"\x80\x02cbuiltins\neval\nX\x0c\x00\x00\x00open('{canary}')\x85R.",
    b"\x80\x02}X\x09\x00\x00\x00model_emacposix\nsystem\nX\x0e\x00\x00\x00touch {canary}\x85Rs.",
]


def mutated(folder, target, rng, canary):
    """A copy of ``folder`` at ``target`` with one file spoilt; returns what was done, for a failing test."""
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(folder, target)
    files = sorted(path for path in target.rglob("*") if path.is_file())
    path = files[rng.integers(len(files))]
    ways = {
        ".json": [_value, _value, _value, _bytes, _cut, _gone],
        ".safetensors": [_header, _header, _bytes, _cut, _gone],
    }
    archive = [_pickle, _pickle, _pickle, _hostile, _bytes, _cut, _gone]
    way = (ways.get(path.suffix) or archive)[rng.integers(len(ways.get(path.suffix) or archive))]
    return f"{way.__name__} of {path.name}: {way(path, rng, canary)}"


def _bytes(path, rng, canary):
    content = bytearray(path.read_bytes())
    where = [int(rng.integers(len(content))) for _ in range(int(rng.integers(1, 8)))]
    for at in where:
        content[at] ^= int(rng.integers(1, 256))
    path.write_bytes(content)
    return where


def _cut(path, rng, canary):
    content = path.read_bytes()
    keep = int(rng.integers(len(content)))
    path.write_bytes(content[:keep] + b"\0" * int(rng.integers(0, 2) * 100))
    return keep


def _gone(path, rng, canary):
    path.unlink()


def _header(path, rng, canary):
    """A byte of the header, or a digit of it: shapes, offsets and names."""
    content = bytearray(path.read_bytes())
    length = int.from_bytes(content[:8], "little")
    digits = [i for i in range(8, 8 + length) if chr(content[i]).isdigit()]
    if rng.integers(2):
        at = digits[rng.integers(len(digits))]
        content[at] = ord("0") + int(rng.integers(10))
    else:
        at = int(rng.integers(8 + length))
        content[at] ^= int(rng.integers(1, 256))
    path.write_bytes(content)
    return at


def _value(path, rng, canary):
    """Another value for one key, anywhere in the tree; or one key less."""
    record = json.loads(path.read_text())
    places, todo = [], [record]
    while todo:
        node = todo.pop()
        for key in node if isinstance(node, dict) else range(len(node)):
            places.append((node, key))
            if isinstance(node[key], (dict, list)):
                todo.append(node[key])
    if not places:
        return None
    node, key = places[rng.integers(len(places))]
    value = STRANGE[rng.integers(len(STRANGE))]
    if isinstance(node, dict) and rng.integers(5) == 0:
        del node[key]
    else:
        node[key] = value
    path.write_text(json.dumps(record))
    return key, value


def _rewritten(path, change):
    """The archive again, its pickle changed and every checksum right."""
    with zipfile.ZipFile(path) as archive:
        members = {info.filename: archive.read(info) for info in archive.infolist()}
    name = next(name for name in members if name.endswith("data.pkl"))
    members[name] = change(members[name])
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for member, content in members.items():
            archive.writestr(member, content)


def _pickle(path, rng, canary):
    where = []

    def change(content):
        content = bytearray(content)
        for _ in range(int(rng.integers(1, 4))):
            where.append(int(rng.integers(len(content))))
            content[where[-1]] ^= int(rng.integers(1, 256))
        return bytes(content)

    _rewritten(path, change)
    return where


def _hostile(path, rng, canary):
    which = int(rng.integers(len(HOSTILE)))
    _rewritten(path, lambda _: HOSTILE[which].replace(b"{canary}", str(canary).encode()))
    return which
