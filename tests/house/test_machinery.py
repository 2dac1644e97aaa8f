"""The machinery of the tests themselves: no way off this machine, and no skip that goes unnoticed."""

import os
import socket
import subprocess
import sys

import pytest

from tests.house.project import ROOT
from tests.network import NetworkUse
from tests.programs import PACKAGES

NEEDS_GIT = """
from tests.programs import needs_program
def test_that_needs_git(): needs_program("git")
def test_that_needs_nothing(): pass
"""


def run_pytest(file, **env):
    command = [sys.executable, "-m", "pytest", "-p", "tests.conftest", "-p", "no:cacheprovider", str(file)]
    env = {"PATH": "", "HOME": os.environ.get("HOME", ""), "PYTHONPATH": str(ROOT), **env}
    return subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True)


@pytest.mark.parametrize("host", ["192.0.2.1", "2001:db8::1"])  # addresses that are kept for documentation
def test_a_connection_that_leaves_this_machine_is_refused(host):
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as outgoing, pytest.raises(NetworkUse, match="loopback"):
        outgoing.connect((host, 80))


def test_a_name_outside_is_not_looked_up():
    with pytest.raises(NetworkUse, match=r"example\.org"):
        socket.create_connection(("example.org", 443))


def test_a_server_on_this_machine_can_be_reached():
    with socket.create_server(("127.0.0.1", 0)) as server:
        socket.create_connection(("localhost", server.getsockname()[1])).close()


def test_a_missing_program_skips_by_name_and_says_what_installs_it(tmp_path):
    file = tmp_path / "test_git.py"
    file.write_text(NEEDS_GIT)
    done = run_pytest(file)
    assert done.returncode == 0, done.stdout
    assert "test_that_needs_git: needs git (apt-get install git)" in done.stdout
    assert "to run these: sudo apt-get install -y --no-install-recommends git" in done.stdout
    assert "1 passed, 1 skipped" in done.stdout


def test_under_ci_a_missing_program_fails(tmp_path):
    file = tmp_path / "test_git.py"
    file.write_text(NEEDS_GIT)
    done = run_pytest(file, CI="true")
    assert done.returncode == 1 and "1 failed, 1 passed" in done.stdout


def test_under_ci_any_other_skip_fails_too(tmp_path):
    file = tmp_path / "test_other.py"
    file.write_text("import pytest\ndef test_skips(): pytest.skip('not today')\n")
    assert run_pytest(file).returncode == 0
    done = run_pytest(file, CI="true")
    assert done.returncode == 1
    assert "test_skips: not today" in done.stdout and "a skip counts as a failure" in done.stdout


def test_what_a_test_starts_can_be_interrupted_also_where_the_tests_run_in_the_background(tmp_path):
    file = tmp_path / "test_background.py"
    file.write_text("import signal\ndef test_it(): assert signal.getsignal(2) is signal.default_int_handler\n")
    command = [sys.executable, "-m", "pytest", "-p", "tests.conftest", "-p", "no:cacheprovider", str(file)]
    ignored = "import os, signal, sys; signal.signal(2, signal.SIG_IGN); os.execv(sys.argv[1], sys.argv[1:])"
    done = subprocess.run([sys.executable, "-c", ignored, *command], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_every_system_program_of_the_tests_names_its_package():
    assert "git" in PACKAGES and all(PACKAGES.values())
