"""Ctrl-C, SIGTERM and SIGHUP: what waits is cancelled, what computes is broken into, the second ends all at once."""

import signal
import subprocess
import sys

import pytest

SCRIPT = """
import asyncio, os, signal, sys, threading, time
from agentrl.interruption import cancelled_by_ctrl_c, hand_over, leave_at_the_next, notice, noticed, restore

async def waits():
    try:
        os.kill(os.getpid(), signal.{signal})
        await asyncio.Event().wait()
    finally:
        print("cancelled", flush=True)

async def computes():
    os.kill(os.getpid(), signal.{signal})
    end = time.monotonic() + 30
    while time.monotonic() < end:
        pass
    print("never", flush=True)

async def ends():
    try:
        await waits()
    finally:
        leave_at_the_next("interrupted; go on with this")
        os.kill(os.getpid(), signal.{signal})
        threading.Event().wait(30)

signal.signal(signal.SIGHUP, signal.SIG_DFL)  # whoever runs the tests may ignore it, as nohup does
notice()
hand_over()
start = time.monotonic()
try:
    asyncio.run(cancelled_by_ctrl_c({work}()))
except KeyboardInterrupt:
    print("interrupted", noticed(), time.monotonic() - start < 20, flush=True)
"""


def told(work: str, name: str) -> tuple[int, str, str]:
    code = SCRIPT.format(work=work, signal=name)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300)
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize(("name", "number"), [("SIGINT", 0), ("SIGTERM", signal.SIGTERM), ("SIGHUP", signal.SIGHUP)])
def test_what_waits_is_cancelled(name: str, number: int) -> None:
    assert told("waits", name) == (0, f"cancelled\ninterrupted {int(number)} True\n", "")


def test_what_computes_is_broken_into_after_a_second() -> None:
    assert told("computes", "SIGINT") == (0, "interrupted 0 True\n", "")


def test_another_one_ends_the_process_at_once_with_the_same_words() -> None:
    assert told("ends", "SIGTERM") == (143, "cancelled\n", "agentrl: interrupted; go on with this\n")


def test_a_signal_that_is_ignored_stays_ignored() -> None:
    code = (
        "import os, signal, sys\n"
        "signal.signal(signal.SIGHUP, signal.SIG_IGN)\n"
        "from agentrl.interruption import notice\n"
        "notice()\n"
        "os.kill(os.getpid(), signal.SIGHUP)\n"
        "print('alive')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == "alive\n"


def test_the_command_line_in_a_program_gives_the_signals_back() -> None:
    from agentrl.cli.main import main

    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]
    assert main(["--version"]) == 0
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)] == before
