"""Whole files, and what is at their name before: a link, a mode, a pipe, a folder."""

import os
import stat
import threading

import pytest

from diffuser_fast.core.whole_file import check_writable, whole_file, write_whole


def test_a_link_stays_a_link(tmp_path):
    target, link = tmp_path / "target", tmp_path / "link"
    target.write_bytes(b"old")
    link.symlink_to(target.name)
    write_whole(link, b"new")
    assert link.is_symlink() and target.read_bytes() == b"new"
    dangling = tmp_path / "dangling"
    dangling.symlink_to("nothing yet")
    write_whole(dangling, b"new")
    assert dangling.is_symlink() and (tmp_path / "nothing yet").read_bytes() == b"new"


def test_a_link_into_a_folder_that_there_is_not(tmp_path):
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "none" / "file")
    with pytest.raises(FileNotFoundError, match=r"there is no folder .*none to write to"):
        write_whole(link, b"new")


def test_a_file_keeps_its_mode(tmp_path):
    path = tmp_path / "secret"
    path.write_bytes(b"old")
    path.chmod(0o600)
    write_whole(path, b"new")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600 and path.read_bytes() == b"new"


def test_a_pipe_is_written_into(tmp_path):
    path, read = tmp_path / "pipe", []
    os.mkfifo(path)
    reader = threading.Thread(target=lambda: read.append(path.read_bytes()))
    reader.start()
    write_whole(path, b"content")
    reader.join()
    assert read == [b"content"] and stat.S_ISFIFO(path.stat().st_mode)


def test_what_goes_wrong_leaves_what_was_there(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"old")
    with pytest.raises(KeyError), whole_file(path) as temporary:
        temporary.write_bytes(b"half")
        raise KeyError
    assert path.read_bytes() == b"old" and [p.name for p in tmp_path.iterdir()] == ["file"]


def test_before_the_work(tmp_path):
    assert check_writable(tmp_path / "new" / "file") == tmp_path / "new" / "file" and (tmp_path / "new").is_dir()
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(NotADirectoryError, match=r"x\.gif: .*file is no folder"):
        check_writable(tmp_path / "file" / "x.gif")
    with pytest.raises(IsADirectoryError, match="found a folder, expected the name of a file"):
        check_writable(tmp_path)
