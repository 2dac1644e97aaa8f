"""How programs are kept in on this machine: by bubblewrap, by namespaces of our own making, or not at all."""

import contextlib
import functools
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib import _bootstrap_external
from pathlib import Path

from agentrl.errors import ConfigError
from agentrl.sandbox.system_calls import filter_program
from agentrl.workers.processes import children

REMEDY = "sudo apt-get install -y --no-install-recommends bubblewrap"
FLAG = "--unsafe-local-exec"

_HERE = Path(__file__).parent
_INSIDE = "/sandbox/inside.pyc"
_PYTHON_FLAGS = ("-S", "-s", "-P", "-B")
_ENVIRONMENT = {"HOME": "/tmp", "LC_ALL": "C.UTF-8", "PYTHONHASHSEED": "0", "PYTHONUTF8": "1"}
"""All that a program finds there; with one hash seed, sets have the same order every time."""
_PROBE_SECONDS = 60.0
_END_SECONDS = 60.0
_MEBIBYTE = 2**20


@dataclass(frozen=True)
class Isolation:
    """A way to keep programs in."""

    kind: str
    """`bubblewrap`, `namespaces` or `none`."""
    contains: str
    """In a sentence, for people."""
    start: "Callable[[Sequence[str], int, int], subprocess.Popen[bytes]]"
    """(arguments of the inner program, descriptor of its standard input, MiB of files) -> the process that started."""


def find_isolation(unsafe: bool = False) -> Isolation:
    """The best way that works here; `unsafe`: where none does, none is taken.

    Raises ConfigError where there is none, with what would help.
    """
    found, refused = _found()
    if found is not None:
        return found
    if unsafe:
        return _UNSAFE
    raise ConfigError(
        f"programs of a model run in a sandbox only, and none can be had here ({refused}). Run: {REMEDY}  (or accept "
        f"that they may do whatever you may: {FLAG})"
    )


def available() -> tuple[Isolation | None, str]:
    """The best way that works here, or None; and why the ways before it do not."""
    return _found()


@functools.cache
def _found() -> tuple[Isolation | None, str]:
    refused: list[str] = []
    for way, lacks in ((_BUBBLEWRAP, _no_bubblewrap), (_NAMESPACES, _no_namespaces)):
        reason = lacks() or _tried(way)
        if not reason:
            return way, "; ".join(refused)
        refused.append(f"{way.kind}: {reason}")
    return None, "; ".join(refused)


def _no_bubblewrap() -> str:
    return "" if shutil.which("bwrap") else "bwrap is not installed"


def _no_namespaces() -> str:
    if sys.platform != "linux":
        return f"{sys.platform} has none"
    return "" if filter_program() is not None else "no filter of system calls for this kind of processor"


def _tried(way: Isolation) -> str:
    """Why a way does not work: the inner program is started with nothing to do, and says that it stands."""
    with contextlib.ExitStack() as stack:
        nothing = stack.enter_context(open(os.devnull, "rb"))
        try:
            process = way.start([json.dumps({"task": "nothing"})], nothing.fileno(), 1)
        except OSError as error:
            return str(error)
        try:
            said, complaint = process.communicate(timeout=_PROBE_SECONDS)
        except subprocess.TimeoutExpired:
            end(process, way)
            process.communicate()
            return "hung"
        complaint = complaint or b""
        if said.strip() == b'{"stands": true}':
            return ""
        words = complaint.decode("utf-8", "replace").strip().splitlines()
        return words[-1][:200] if words else f"ended with {process.returncode}"


def end(process: "subprocess.Popen[bytes]", way: Isolation) -> None:
    """Kill what is left of a run, and wait until it is gone.

    Of a namespace the first process is killed, not the outer one, which stands still meanwhile and starts none: the
    kernel then ends all the others, and only after that is the outer one told.
    """
    if process.poll() is None:
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(signal.SIGSTOP)
            first = children(process.pid) if way.kind != "none" else []
            for pid in first or [process.pid]:
                os.kill(pid, signal.SIGKILL)
            process.send_signal(signal.SIGCONT)
    if way.kind == "none":
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
    try:
        process.wait(_END_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


@functools.cache
def inner_program() -> bytes:
    """What runs in the sandbox, compiled: a run then costs no compiling, and needs no file of this package's.

    By what py_compile itself calls, because that writes to a file, which would stay where this process is killed.
    """
    code = compile((_HERE / "inside.py").read_bytes(), _INSIDE, "exec", dont_inherit=True)
    return bytes(_bootstrap_external._code_to_timestamp_pyc(code))  # type: ignore[attr-defined]


@functools.cache
def interpreter() -> str:
    """The interpreter itself, not the virtual environment's link to it."""
    return os.path.realpath(getattr(sys, "_base_executable", "") or sys.executable)


@functools.cache
def readable() -> tuple[str, ...]:
    """Files and folders that an interpreter needs: itself, its standard library, the system's libraries."""
    prefixes = dict.fromkeys((sys.base_prefix, sys.base_exec_prefix))
    wanted = ["/usr/lib", "/usr/lib32", "/usr/lib64", "/lib", "/lib32", "/lib64"]
    wanted += [f"{prefix}/{name}" for prefix in prefixes for name in ("lib", "lib64")]
    wanted += [os.path.dirname(os.__file__), interpreter()]
    wanted += ["/nix/store"] if interpreter().startswith("/nix/") else []
    kept: list[str] = []
    for path in dict.fromkeys(wanted):
        inside = any(path.startswith(f"{folder}/") for folder in kept)
        if os.path.exists(path) and not os.path.islink(path) and not inside:
            kept.append(path)
    return tuple(kept)


def _links() -> Iterator[tuple[str, str]]:
    """(link, what it says) of the root's folders that are links: /lib on most systems."""
    for name in ("/lib", "/lib32", "/lib64"):
        if os.path.islink(name):
            yield name, os.readlink(name)


def _folders() -> list[str]:
    """Every folder above what is readable, outermost first."""
    above = {str(parent) for path in readable() for parent in Path(path).parents if str(parent) != "/"}
    return sorted(above - set(readable()))


@contextlib.contextmanager
def _in_memory(*contents: bytes) -> Iterator[list[int]]:
    """Descriptors of files that stand nowhere, at their beginning."""
    files = [os.memfd_create("agentrl", 0) for _ in contents]
    try:
        for file, content in zip(files, contents, strict=True):
            os.write(file, content)
            os.lseek(file, 0, os.SEEK_SET)
            os.set_inheritable(file, True)
        yield files
    finally:
        for file in files:
            os.close(file)


def _account() -> int:
    """For root: an account that is nobody's, another one for each run, whose processes the kernel then counts apart."""
    return 2**30 + random.SystemRandom().randrange(2**29)


def _command(arguments: Sequence[str], program: str) -> list[str]:
    return [interpreter(), *_PYTHON_FLAGS, program, *arguments]


def _start_bubblewrap(arguments: Sequence[str], given: int, disk: int) -> "subprocess.Popen[bytes]":
    is_root = os.geteuid() == 0
    words = [shutil.which("bwrap") or "bwrap", "--new-session", "--as-pid-1", "--clearenv"]
    words += ["--unshare-ipc", "--unshare-pid", "--unshare-net", "--unshare-uts", "--unshare-cgroup-try"]
    if is_root:  # no user namespace: the inner program becomes an account of its own and loses every privilege
        words += ["--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID"]
    else:
        words += ["--unshare-user", "--uid", "65534", "--gid", "65534"]
    for name, value in _ENVIRONMENT.items():
        words += ["--setenv", name, value]
    for folder in (*_folders(), "/dev", "/sandbox"):
        words += ["--perms", "0755", "--dir", folder]
    for path in readable():
        words += ["--ro-bind", path, path]
    for link, target in _links():
        words += ["--symlink", target, link]
    words += ["--dev-bind", "/dev/null", "/dev/null"]
    words += ["--size", str(disk * _MEBIBYTE), "--perms", "1777", "--tmpfs", "/tmp"]
    filter_words = filter_program()
    with _in_memory(inner_program(), filter_words or b"") as (program, calls):
        words += ["--perms", "0444", "--ro-bind-data", str(program), _INSIDE]
        if filter_words is not None:
            words += ["--seccomp", str(calls)]
        words += ["--remount-ro", "/", "--chdir", "/tmp", "--"]
        account = [str(_account())] if is_root else ["0"]
        return _popen([*words, *_command([*account, *arguments], _INSIDE)], given, (program, calls))


def _start_namespaces(arguments: Sequence[str], given: int, disk: int) -> "subprocess.Popen[bytes]":
    is_root = os.geteuid() == 0
    with _in_memory(inner_program(), filter_program() or b"") as (program, calls):
        plan = {
            "user": not is_root,
            "readable": readable(),
            "folders": [*_folders(), "/dev", "/sandbox", "/tmp"],
            "links": list(_links()),
            "disk": disk * _MEBIBYTE,
            "program": [program, _INSIDE],
            "filter": calls,
            "environment": _ENVIRONMENT,
            "command": _command([str(_account()) if is_root else "0", *arguments], _INSIDE),
        }
        words = [interpreter(), "-I", "-S", "-B", str(_HERE / "namespaces.py"), json.dumps(plan)]
        return _popen(words, given, (program, calls))


def _start_unsafe(arguments: Sequence[str], given: int, disk: int) -> "subprocess.Popen[bytes]":
    return _popen(_command(["0", *arguments], str(_HERE / "inside.py")), given, (), tempfile.gettempdir())


def _popen(words: list[str], given: int, passed: tuple[int, ...], cwd: str | None = "/") -> "subprocess.Popen[bytes]":
    return subprocess.Popen(
        words,
        stdin=given,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        pass_fds=passed,
        start_new_session=True,
        env=_ENVIRONMENT,
        cwd=cwd,
    )


_BUBBLEWRAP = Isolation(
    "bubblewrap",
    "no network, no files but the interpreter's own, no other processes; memory, processor and output limited",
    _start_bubblewrap,
)
_NAMESPACES = Isolation(
    "namespaces",
    "as bubblewrap does it, by namespaces that agentrl makes itself",
    _start_namespaces,
)
_UNSAFE = Isolation(
    "none",
    "NOTHING: programs may read, write and send whatever this account may; memory, processor and output limited",
    _start_unsafe,
)

WAYS = {way.kind: way for way in (_BUBBLEWRAP, _NAMESPACES, _UNSAFE)}
