"""``diffuser-fast doctor --realtime``: each thing that a machine may lack is named, with what helps."""

import json

from click.testing import CliRunner

from diffuser_fast import cli
from diffuser_fast.cli.realtime import examine

GOOD = {
    "sys/kernel/realtime": "1",
    "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor": "performance",
    "sys/devices/system/cpu/isolated": "2-3",
    "sys/fs/cgroup/cpu.max": "max 100000",
    "proc/sys/kernel/sched_rt_runtime_us": "-1",
    "proc/sys/kernel/sched_rt_period_us": "1000000",
    "proc/sys/kernel/sched_autogroup_enabled": "0",
}
BAD = {
    "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor": "powersave",
    "sys/devices/system/cpu/isolated": "",
    "sys/fs/cgroup/cpu.max": "50000 100000",
    "proc/sys/kernel/sched_rt_runtime_us": "950000",
    "proc/sys/kernel/sched_rt_period_us": "1000000",
    "proc/sys/kernel/sched_autogroup_enabled": "1",
}


def machine(folder, files):
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n")
    return {row["what"]: row for row in examine(folder)}


def test_a_machine_that_has_it_all(tmp_path):
    found = machine(tmp_path, GOOD)
    for what in ("preemption", "clock of the cores", "isolated cores", "quota of processor time", "autogroups"):
        assert found[what]["good"] is True and not found[what]["cure"], what
    assert found["throttling of SCHED_FIFO"]["found"] == "off"


def test_a_machine_that_lacks_it(tmp_path):
    found = machine(tmp_path, BAD)
    cures = {
        "clock of the cores": "performance", "isolated cores": "isolcpus", "quota of processor time": "cpuset",
        "throttling of SCHED_FIFO": "sched_rt_runtime_us", "autogroups": "sched_autogroup_enabled=0",
    }  # fmt: skip
    for what, words in cures.items():
        assert not found[what]["good"] and words in found[what]["cure"], what
    assert "95 %" in found["throttling of SCHED_FIFO"]["found"]


def test_nothing_is_told(tmp_path):
    found = machine(tmp_path, {})
    assert all(isinstance(row["found"], str) and row["found"] for row in found.values())
    assert found["clock of the cores"]["good"] is None


def test_the_command():
    done = CliRunner().invoke(cli.group, ["doctor", "--realtime", "--json"])
    assert done.exit_code == 0, done.output
    names = {row["what"] for row in json.loads(done.output)["realtime"]}
    assert {"SCHED_FIFO", "locked memory", "isolated cores"} <= names
    done = CliRunner().invoke(cli.group, ["doctor", "--realtime"])
    assert done.exit_code == 0 and "SCHED_FIFO" in done.output
