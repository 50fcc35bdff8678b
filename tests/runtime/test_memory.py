"""How much memory a process may still take: the least of all limits counts."""

import subprocess
import sys

import psutil
import pytest

from vaelab.runtime import memory

GIB = 2**30


@pytest.fixture
def no_limits(monkeypatch):
    """Look at no limit of the machine that runs the tests."""
    monkeypatch.setattr(memory, "CONTROL_GROUPS", ())
    monkeypatch.setattr(memory, "_process_limit", lambda: iter(()))


def test_without_limits_it_is_what_the_machine_has_free(no_limits):
    assert memory.available() == pytest.approx(psutil.virtual_memory().available, rel=0.2)


@pytest.mark.parametrize("limit", ["memory.max", "memory.limit_in_bytes"])
def test_a_groups_limit_counts_without_the_pages_of_files(no_limits, monkeypatch, tmp_path, limit):
    (tmp_path / limit).write_text("100000000\n")
    (tmp_path / "memory.stat").write_text("anon 30000000\nfile 60000000\ninactive_file 5\n")
    monkeypatch.setattr(memory, "CONTROL_GROUPS", ((tmp_path / limit, "anon"),))
    assert memory.available() == 70_000_000


@pytest.mark.parametrize("limit", ["max", "", "10"])
def test_a_group_that_says_nothing_useful(no_limits, monkeypatch, tmp_path, limit):
    unlimited = memory.available()
    (tmp_path / "memory.max").write_text(limit)
    (tmp_path / "memory.stat").write_text("anon 30\n")
    monkeypatch.setattr(memory, "CONTROL_GROUPS", ((tmp_path / "memory.max", "anon"),))
    # More taken than allowed: nothing is free, and no number below 0.
    expected = 0 if limit == "10" else unlimited
    assert memory.available() == pytest.approx(expected, rel=0.2)


@pytest.mark.skipif(sys.platform != "linux", reason="limits of Linux")
@pytest.mark.parametrize("name", ["RLIMIT_DATA", "RLIMIT_AS"])
def test_a_limit_on_the_process_counts(name):
    script = f"""
import resource
from vaelab.runtime import memory
resource.setrlimit(resource.{name}, ({8 * GIB}, {8 * GIB}))
first = memory.available()
held = bytearray(2**28)
print(first, memory.available())
"""
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True)
    first, after = map(int, ran.stdout.split())
    assert first < 8 * GIB
    assert first - after == pytest.approx(2**28, rel=0.1)
