"""Records: what may be written, that nothing is ever taken away, what is read again."""

import json

import pytest

from bench import machine
from bench.records import Case, Log, Result, Sheet, read

RUN = {"command": "bench", "clock": "cpu", "threads": 2, "isa": None, "quick": True, "load": 0.5}
TAILS = Sheet("tails", "tiny/plan/b1", ["engine", "p50 ms"], [["cpu", 1.0], ["other", None]])


def log(folder, **fields):
    return Log(folder, **{**RUN, "machine": {"cpu": "Test(R) CPU @ 2.0GHz"}, **fields})


def test_files_are_only_appended_to(tmp_path):
    first = log(tmp_path)
    first.append(TAILS)
    before = first.path.read_bytes()
    second = log(tmp_path)
    second.append(TAILS)
    first.append(TAILS)
    assert first.path == second.path and first.run.run != second.run.run
    assert first.path.read_bytes().startswith(before)
    kinds = [json.loads(line)["record"] for line in first.path.read_text().splitlines()]
    assert kinds == ["run", "sheet", "run", "sheet", "sheet"]


def test_the_file_is_named_for_the_day_and_the_device(tmp_path):
    assert log(tmp_path).path.name[10:] == "-test-2-0ghz.jsonl"
    assert log(tmp_path, machine={"cpu": "x", "gpu": {"name": "NVIDIA Test"}}).path.name[10:] == "-nvidia-test.jsonl"


def test_what_is_written_is_read_again(tmp_path):
    one = log(tmp_path)
    case = Case("tiny/step/b1", 10, 20, "peer", 0.1, None, [Result("peer", False, p50_ms=1.5), Result("cpu", True)])
    for record in (case, TAILS):
        one.append(record)
    assert read([one.path]) == [(one.run, case), (one.run, TAILS)]


def test_not_a_number_is_not_written(tmp_path):
    one = log(tmp_path)
    before = one.path.read_bytes()
    with pytest.raises(ValueError, match="JSON"):
        one.append(Sheet("tails", "x", ["ms"], [[float("nan")]]))
    assert one.path.read_bytes() == before


@pytest.mark.parametrize(
    "line",
    [
        "{", '{"record": "row"}', '{"record": "sheet", "run": "RUN", "what": "tails"}',
        '{"record": "sheet", "run": "lost", "what": "tails", "name": "x", "columns": [], "rows": []}',
        '{"record": "run", "run": "x", "speed": 1}',
    ],
)  # fmt: skip
def test_a_line_that_is_no_record_is_named(tmp_path, line):
    one = log(tmp_path)
    with open(one.path, "a") as file:
        file.write(line.replace("RUN", one.run.run) + "\n")
    with pytest.raises(ValueError, match=r"ghz.jsonl:2: no record"):
        read([one.path])


def test_what_is_in_the_results_folder_can_be_read():
    for run, record in read():
        assert not isinstance(record, Sheet) or {len(record.columns)} == {len(row) for row in record.rows}
        assert run.commit and record


def test_records_name_no_folder(tmp_path):
    folder = "/".join(["", "somewhere", "deep"])
    one = log(tmp_path, command=f"bench --results {folder}/rows --only hopper/*/b1 and/or")
    one.append(Sheet("checks", "triton", ["where"], [[f"cannot open {folder}/file: no"]]))
    said = [json.loads(line) for line in one.path.read_text().splitlines()]
    assert said[0]["command"] == "bench --results rows --only hopper/*/b1 and/or"
    assert said[1]["rows"] == [["cannot open file: no"]]


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
    assert record["usable_cores"] >= 1 and machine.versions()["numpy"]
    assert not {"hostname", "node", "user"} & set(record)


def test_the_commit_is_known():
    head, dirty = machine.commit()
    assert len(head) == 40 if (machine.ROOT / ".git").exists() else (head, dirty) == (None, True)


def test_work_of_others(monkeypatch):
    """30 CPU seconds of the machine in 10 seconds, 15 of them ours; idle and waiting do not count, stolen time does."""
    tick = machine.os.sysconf("SC_CLK_TCK")
    stat = [f"cpu 0 0 {busy * tick} {n} {n} 0 0 {tick}\ncpu0" for n, busy in ((0, 100), (7, 130))]
    answers = {"/proc/stat": iter(stat), "/proc/uptime": iter(["50.0 1", "60.0 1"])}
    monkeypatch.setattr(machine, "_read", lambda path: next(answers[path]))
    with machine.Quiet(iter((10.0, 25.0)).__next__) as quiet:
        pass
    assert quiet.others == pytest.approx((30 - 15) / 10 / machine.os.cpu_count())


def test_where_the_system_does_not_say(monkeypatch):
    monkeypatch.setattr(machine, "_read", lambda path: "")
    with machine.Quiet() as quiet:
        pass
    assert quiet.others is None and quiet.warning is None
