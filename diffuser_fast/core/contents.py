"""What a file is, told by how it begins: for the errors of those who expected another."""

from __future__ import annotations

from .spelling import setting

START = 64  # bytes that are enough to tell

TORCH_LEGACY = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19"  # torch's files before it wrote zip archives
HDF5 = b"\x89HDF\r\n\x1a\n"
ZIP = b"PK\x03\x04"
_STARTS = {
    b"version https://git-lfs": "a pointer of Git LFS; `git lfs pull` fetches the file itself",
    HDF5: "an HDF5 file (data sets are for `diffuser-fast stats` and `train`)",
    b"\x93NUMPY": "a numpy array",
    ZIP: "a zip archive",
    TORCH_LEGACY: "a file of torch's",
    b"\x1f\x8b": "a gzip archive",
    b"GIF8": "a picture",
    b"\x89PNG": "a picture",
    b"\x80": "a bare pickle (of a configuration, perhaps: pass its folder)",
    b"<": "a web page or XML",
}


def looks_like(start: bytes) -> str:
    """What a file that begins with ``start`` (``START`` bytes of it) is, for people."""
    if not start:
        return "an empty file"
    if not start.strip(b"\0"):
        return "nothing but zeros, as a download that was cut off leaves"
    text = start.removeprefix(b"\xef\xbb\xbf").lstrip()
    if text.startswith(b"{"):
        cure = setting("normalizer", "path", "PATH", call="load(..., {})")
        return f"JSON (statistics go to {cure})"
    known = (what for magic, what in _STARTS.items() if start.startswith(magic) or text.startswith(magic))
    return next(known, "nothing known")
