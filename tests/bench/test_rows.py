"""Rows: what may be written, that nothing is ever taken away, and that every field is explained."""

import json
from pathlib import Path

import pytest

from bench import machine
from bench.rows import SCHEMA, Log, check, read

RUN = {
    "command": "bench", "commit": None, "dirty": True, "machine": {"cpu": "Test(R) CPU @ 2.0GHz"}, "versions": {},
    "ceiling": {}, "threads": 2, "isa": None, "quick": True, "load": 0.5,
}  # fmt: skip
TAIL = {
    "workload": "tiny/plan/b1", "candidate": "cpu", "threads": 1, "calls": 3, "p50_ms": 1.0, "p99_ms": None,
    "p99_9_ms": None, "max_ms": 2.0, "others": 0.0, "warning": None,
}  # fmt: skip


def test_files_are_only_appended_to(tmp_path):
    first = Log(RUN, tmp_path)
    first.append("tail", TAIL)
    before = first.path.read_bytes()
    second = Log(RUN, tmp_path)
    second.append("tail", TAIL | {"calls": 4})
    first.append("tail", TAIL | {"calls": 5})
    assert first.path == second.path and first.run != second.run
    assert first.path.read_bytes().startswith(before)
    assert [json.loads(line)["row"] for line in first.path.read_text().splitlines()] == [
        "run", "tail", "run", "tail", "tail",
    ]  # fmt: skip


def test_the_file_is_named_for_the_day_and_the_cpu(tmp_path):
    name = Log(RUN, tmp_path).path.name
    assert name[10:] == "-test-2-0ghz.jsonl"
    assert name[:10].count("-") == 2


def test_a_row_is_on_disk_when_append_returns(tmp_path):
    log = Log(RUN, tmp_path)
    for n in range(3):
        log.append("tail", TAIL | {"calls": n})
        assert len(log.path.read_text().splitlines()) == n + 2


def test_read_joins_the_run(tmp_path):
    log = Log(RUN, tmp_path)
    log.append("tail", TAIL)
    (row,) = read([log.path])
    assert row["at"]["machine"] == RUN["machine"] and row["run"] == row["at"]["run"]


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"calls": 1.5}, "calls is 1.5"),
        ({"calls": True}, "calls is True"),
        ({"warning": 3}, "warning is 3"),
        ({"speed": 1.0}, "not expected ['speed']"),
    ],
)
def test_what_is_no_row_is_not_written(tmp_path, change, complaint):
    log = Log(RUN, tmp_path)
    before = log.path.read_bytes()
    with pytest.raises(ValueError) as error:
        log.append("tail", TAIL | change)
    assert complaint in str(error.value)
    assert log.path.read_bytes() == before


def test_not_a_number_is_not_written(tmp_path):
    log = Log(RUN, tmp_path)
    with pytest.raises(ValueError, match="JSON"):
        log.append("tail", TAIL | {"p50_ms": float("nan")})


def test_a_broken_line_is_named(tmp_path):
    log = Log(RUN, tmp_path)
    with open(log.path, "a") as file:
        file.write('{"row": "tail"}\n')
    with pytest.raises(ValueError, match=r"ghz.jsonl:2: tail row: missing"):
        read([log.path])


def test_rows_without_their_run_are_refused(tmp_path):
    log = Log(RUN, tmp_path)
    log.append("tail", TAIL)
    orphan = tmp_path / "orphan.jsonl"
    orphan.write_text(log.path.read_text().splitlines()[1] + "\n")
    with pytest.raises(ValueError, match="have no run row"):
        read([orphan])


def test_what_is_in_the_results_folder_can_be_read():
    for row in read():
        check({name: value for name, value in row.items() if name != "at"})


def test_every_field_is_explained():
    page = (Path(__file__).resolve().parents[2] / "bench" / "README.md").read_text(encoding="utf-8")
    missing = {name for fields in SCHEMA.values() for name in fields if f"`{name}`" not in page}
    assert not missing


@pytest.mark.parametrize(
    ("cpu", "slug"),
    [
        ("Intel(R) Xeon(R) Platinum 8171M CPU @ 2.60GHz", "intel-xeon-platinum-8171m-2-60ghz"),
        ("AMD EPYC 9354 32-Core Processor", "amd-epyc-9354"),
        ("", "unknown"),
    ],
)
def test_slug(cpu, slug):
    assert machine.slug(cpu) == slug


def test_the_fingerprint_is_plain_and_names_nobody():
    record = machine.fingerprint()
    assert json.loads(json.dumps(record)) == record
    assert record["usable_cores"] >= 1
    assert not {"hostname", "node", "user"} & set(record)


def test_rows_name_no_folder(tmp_path):
    folder = "/".join(["", "somewhere", "deep"])
    log = Log(RUN | {"command": f"bench --results {folder}/rows --only hopper/*/b1 and/or"}, tmp_path)
    assert log.rows[0]["command"] == "bench --results rows --only hopper/*/b1 and/or"


def test_work_of_others():
    before, after = machine.Busy(100.0, 10.0, 50.0), machine.Busy(130.0, 25.0, 60.0)
    cores = machine.os.cpu_count()
    assert machine.others(before, after) == pytest.approx((30 - 15) / 10 / cores)
    assert machine.others(before, before) is None
    assert machine.others(None, after) is None
