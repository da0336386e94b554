import os
import subprocess
import sys
from pathlib import Path

from soulwatch.host.processes import is_gone, name_of_this

NAME = "import sys; from soulwatch.host.processes import name_of_this; print(name_of_this('x'), flush=True); input()"


def test_a_process_is_gone_when_it_has_ended_and_not_before():
    with subprocess.Popen([sys.executable, "-c", NAME], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        name = child.stdout.readline().decode().strip()
        assert not is_gone(name)
        child.kill()
    assert is_gone(name)


def test_who_has_the_number_of_a_process_that_ended_is_somebody_else():
    place, pid, began, token = name_of_this("mine").split(":")

    assert not is_gone(f"{place}:{pid}:{began}:{token}")
    assert is_gone(f"{place}:{pid}:{int(began) - 1}:{token}")


def test_of_another_machine_nothing_is_certain():
    _, *rest = name_of_this("mine").split(":")

    assert not is_gone(":".join(["another-boot/pid-[1]", *rest[:-2], "0", "x"]))
    assert not is_gone("another-host:1:x")
    assert not is_gone("somebody")


def test_where_the_kernel_tells_nothing_nobody_is_gone(tmp_path, monkeypatch):
    monkeypatch.setattr("soulwatch.host.processes.PROC", tmp_path)

    name = name_of_this("mine")

    assert str(os.getpid()) in name
    assert not is_gone(name)


def test_a_process_whose_past_is_hidden_is_not_gone(tmp_path, monkeypatch):
    place, _, _, token = name_of_this("mine").split(":")
    for name in ("sys/kernel/random", "self/ns"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "sys/kernel/random/boot_id").write_text(Path("/proc/sys/kernel/random/boot_id").read_text())
    (tmp_path / "self/ns/pid").symlink_to(Path("/proc/self/ns/pid").readlink())
    monkeypatch.setattr("soulwatch.host.processes.PROC", tmp_path)  # as with hidepid=2: of others nothing is there

    assert not is_gone(f"{place}:1:5:{token}")
    with subprocess.Popen([sys.executable, "-c", "pass"]) as child:
        pass
    assert is_gone(f"{place}:{child.pid}:5:{token}")


def test_a_process_that_ended_and_that_nobody_asked_about_is_gone():
    with subprocess.Popen([sys.executable, "-c", NAME], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        name = child.stdout.readline().decode().strip()
        child.stdin.close()
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)  # it has ended, and its number is still its own
        assert is_gone(name)
