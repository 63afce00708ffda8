"""An object in a process of its own: it works, it fails, it dies, it is ended."""

import time

import pytest

from bench.remote import Failure, OutOfTime, Remote
from tests.bench.fakes import Counter


@pytest.fixture
def remote():
    with Remote(Counter, 1) as made:
        yield made


def test_it_keeps_its_state_and_its_failures_are_sentences(remote):
    assert [remote.call("add", 2), remote.call("add", 3)] == [3, 6]
    with pytest.raises(Failure, match=r"^ValueError: cannot read file$"):  # no folder of this machine
        remote.call("fail")
    assert remote.call("add", 1) == 7


def test_one_that_dies_says_its_last_word(remote):
    with pytest.raises(Failure, match="its process ended with 7: illegal instruction"):
        remote.call("end")
    with pytest.raises(Failure, match="ended with 7"):
        remote.call("add", 1)


def test_one_that_hangs_is_ended(remote):
    remote.call("add", 1)
    began = time.monotonic()
    with pytest.raises(OutOfTime):
        remote.call("sleep", limit=0.2)
    assert time.monotonic() - began < 20


def test_one_that_cannot_be_made_says_why():
    with Remote(Counter) as remote, pytest.raises(Failure, match=r"TypeError: .*'start'"):
        remote.call("add", 1)
