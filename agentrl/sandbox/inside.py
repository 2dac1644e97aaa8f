"""The program that runs in the sandbox, by a bare interpreter: it keeps tests and the program that is judged apart.

It imports nothing of agentrl; isolation.py compiles it and hands it in. Arguments: an account to become (root's only;
0: none) and, as JSON, the task, the limits. The job (program and tests) is standard input, the verdict goes to
standard output, a JSON line a test.

    examiner ──fork, before the job is read──▶ candidate
        │  ◀── lines of JSON: calls, and what they return ──▶  │
        reads the job, runs the tests, speaks to the outside    runs the program, holds two pipes and nothing else

The candidate is forked before there is anything to find out: neither its memory nor its descriptors hold the tests or
the way out. What it answers is text from which the examiner builds plain values, so that no object of the program's
ever takes part in a comparison. In a sandbox the examiner is the first process of its namespace, which signals from
inside cannot end or stop, and the filter of system calls keeps its memory closed.
"""

from __future__ import annotations  # typing alone would cost a tenth of a run

import _thread
import contextlib
import itertools
import json
import os
import resource
import select
import signal
import sys
import time
import types

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, NoReturn

    Say = Callable[[dict[str, Any]], None]

SAFE_ERRORS: dict[str, type[Exception]] = {
    kind.__name__: kind
    for kind in (
        ArithmeticError, AssertionError, AttributeError, EOFError, ImportError, IndexError, KeyError, LookupError,
        MemoryError, NameError, NotImplementedError, OSError, OverflowError, RecursionError, RuntimeError, TypeError,
        UnicodeError, ValueError, ZeroDivisionError,
    )
}  # fmt: skip
"""What a program may raise in its tests. StopIteration would end their loops early, SystemExit the examiner."""
MAX_DEPTH = 200
MAX_WORDS = 300
MAX_ITERATED = 100_000
LAST_SECONDS = 0.5
"""Between the end of its channel and the end of its process."""
MEBIBYTE, KIBIBYTE = 2**20, 2**10


class CandidateError(Exception):
    """The program raised, returned or did what tests cannot be told as it was."""


class CandidateGone(Exception):
    """The program's process has ended, or has said what is no answer."""


# Values on their way between the two processes


def encode(value: Any, depth: int = 0) -> Any:
    """A plain value in JSON's terms; an object becomes the name of its class. Raises for what is nested too deeply."""
    if depth > MAX_DEPTH:
        raise ValueError("nested too deeply")
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int):
        small = int(value)
        return small if abs(small) < 2**63 else {"int": hex(small)}
    if isinstance(value, float):
        return float(value)
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, complex):
        return {"complex": [value.real, value.imag]}
    if isinstance(value, (bytes, bytearray)):
        return {type_of(value, bytes, bytearray): bytes(value).hex()}
    if isinstance(value, list):
        return [encode(item, depth + 1) for item in value]
    if isinstance(value, (tuple, set, frozenset)):
        return {type_of(value, tuple, set, frozenset): [encode(item, depth + 1) for item in value]}
    if isinstance(value, dict):
        return {"dict": [[encode(key, depth + 1), encode(item, depth + 1)] for key, item in value.items()]}
    if isinstance(value, range):
        return {"range": [encode(number) for number in (value.start, value.stop, value.step)]}
    if hasattr(type(value), "__next__"):
        items = list(itertools.islice(value, MAX_ITERATED + 1))
        if len(items) > MAX_ITERATED:
            raise ValueError(f"an iterator of more than {MAX_ITERATED} items")
        return {"iterator": [encode(item, depth + 1) for item in items]}
    return {"object": str(type(value).__name__)[:MAX_WORDS]}


def type_of(value: Any, *kinds: type) -> str:
    return next(kind.__name__ for kind in kinds if isinstance(value, kind))


def decode(said: Any) -> Any:
    """A plain value of what was said. Raises for what nobody can have encoded."""
    if isinstance(said, list):
        return [decode(item) for item in said]
    if not isinstance(said, dict):
        return said
    ((kind, value),) = said.items()
    if kind in ("tuple", "set", "frozenset"):
        return {"tuple": tuple, "set": set, "frozenset": frozenset}[kind](decode(item) for item in value)
    if kind == "dict":
        return {decode(key): decode(item) for key, item in value}
    if kind == "int":
        return int(value, 16)
    if kind == "complex":
        return complex(*value)
    if kind in ("bytes", "bytearray"):
        return bytes.fromhex(value) if kind == "bytes" else bytearray.fromhex(value)
    if kind == "range":
        return range(*map(decode, value))
    if kind == "iterator":
        return iter([decode(item) for item in value])
    if kind == "object":
        raise CandidateError(f"returned an object of class {value!s:.60}; tests see plain values only")
    raise ValueError(kind)


def told(error: BaseException) -> list[str]:
    """Class and text of an exception; its text may be endless, fail to be made, or be none."""
    name = str(type(error).__name__)
    try:
        return [name, str(str(error))[:MAX_WORDS]]
    except BaseException:
        return [name, ""]


# The candidate's side


def be_candidate(requests: int, replies: int, limits: dict[str, Any]) -> NoReturn:
    """Run the program, answer calls; never returns."""
    with open(os.devnull, "rb+", 0) as nothing:
        for standard in (0, 1, 2):
            os.dup2(nothing.fileno(), standard)
    os.dup2(requests, 3)
    os.dup2(replies, 4)
    os.closerange(5, 1 << 16)
    limit_program(limits)
    with open(3, "rb") as incoming, open(4, "wb") as outgoing:
        program = module_of("solution")
        for line in incoming:
            said = json.dumps(answer(json.loads(line), program), separators=(",", ":"))
            outgoing.write(said.encode() + b"\n")
            outgoing.flush()
    os._exit(0)


def answer(request: dict[str, Any], program: dict[str, Any]) -> dict[str, Any]:
    """Load the program, or call one of its functions; what comes of it, in JSON's terms."""
    try:
        if "program" in request:
            exec(compile(request["program"], "solution.py", "exec"), program)
            return {"value": None}
        function = eval(request["call"], program)
        given = [decode(value) for value in request["args"]]
        named = {name: decode(value) for name, value in request["kwargs"].items()}
        return {"value": encode(function(*given, **named))}
    except BaseException as error:
        return {"error": told(error)}


def module_of(name: str) -> dict[str, Any]:
    """The namespace of a new module, which dataclasses and their like can look up."""
    module = types.ModuleType(name)
    sys.modules[name] = module
    return module.__dict__


def limit_all(limits: dict[str, Any]) -> None:
    """What holds for the examiner, too; of these none can be raised again."""
    files = limits["disk"] * MEBIBYTE
    for kind, value in (
        (resource.RLIMIT_AS, limits["memory"] * MEBIBYTE),
        (resource.RLIMIT_FSIZE, files),
        (resource.RLIMIT_NOFILE, 64),
        (resource.RLIMIT_CORE, 0),
    ):
        lower(kind, value, value)


def limit_program(limits: dict[str, Any]) -> None:
    """Just before the program runs: processor time (a warning, then the end) and processes."""
    lower(resource.RLIMIT_CPU, limits["cpu_seconds"], limits["cpu_seconds"] + 1)
    lower(resource.RLIMIT_NPROC, limits["processes"] + 2, limits["processes"] + 2)  # with the examiner's two threads
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def lower(kind: int, soft: int, hard: int) -> None:
    _, highest = resource.getrlimit(kind)
    if highest != resource.RLIM_INFINITY:
        soft, hard = min(soft, highest), min(hard, highest)
    with contextlib.suppress(ValueError, OSError):  # a system that does not know it (macOS)
        resource.setrlimit(kind, (soft, hard))


# The examiner's side


class Candidate:
    """The other process, as the examiner sees it."""

    def __init__(self, pid: int, requests: int, replies: int, longest: int) -> None:
        self._pid, self._longest, self._gone = pid, longest, ""
        self._requests, self._replies = os.fdopen(requests, "wb"), os.fdopen(replies, "rb")

    def ask(self, request: dict[str, Any]) -> Any:
        """What it answers.   Raises what the program raised, CandidateError, or CandidateGone once it is."""
        if self._gone:
            raise CandidateGone(self._gone)
        try:
            self._requests.write(json.dumps(request).encode() + b"\n")
            self._requests.flush()
            line = self._replies.readline(self._longest)
        except OSError:
            line = b""
        if not line.endswith(b"\n"):
            raise self._lost("returned more than its limit of output" if line else "")
        try:
            said = json.loads(line)
            if "error" in said:
                name, text = map(str, said["error"])
            else:
                return decode(said["value"])
        except CandidateError:
            raise
        except Exception:
            raise self._lost("said what is no answer") from None
        if name in SAFE_ERRORS:
            raise SAFE_ERRORS[name](text[:MAX_WORDS])
        raise CandidateError(f"{name[:60]}: {text[:MAX_WORDS]}")

    def _lost(self, why: str) -> CandidateGone:
        """It is at fault, or at an end: see it dead, and say how it went."""
        end = time.monotonic() + (0 if why else LAST_SECONDS)
        while not self._has_ended() and time.monotonic() < end:
            time.sleep(0.001)
        why = why or ("" if self._has_ended() else "the program closed what it should answer with")
        with contextlib.suppress(ProcessLookupError):
            os.kill(self._pid, signal.SIGKILL)
        _, status = os.waitpid(self._pid, 0)
        self._gone = why or how_it_ended(status)
        return CandidateGone(self._gone)

    def _has_ended(self) -> bool:
        return os.waitid(os.P_PID, self._pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def how_it_ended(status: int) -> str:
    code = os.waitstatus_to_exitcode(status)
    if code >= 0:
        return f"the program ended its process with code {code}"
    if -code in (signal.SIGXCPU, signal.SIGKILL):
        return "the program used up its processor time" if -code == signal.SIGXCPU else "the program was killed"
    return f"the program died by signal {-code}"


def remote(candidate: Candidate, expression: str, name: str) -> Callable[..., Any]:
    """A function of the program, as its tests see it."""

    def call(*given: Any, **named: Any) -> Any:
        request = {
            "call": expression,
            "args": [whole(value) for value in given],
            "kwargs": {key: whole(value) for key, value in named.items()},
        }
        return candidate.ask(request)

    call.__name__ = name
    return call


def whole(value: Any) -> Any:
    said = encode(value)
    decode(said)  # what the tests give must arrive
    return said


def examine(job: dict[str, Any], candidate: Candidate, say: Say) -> None:
    """Run every check; say of each whether it was passed, and of the first that was not what went wrong."""
    tests = module_of("tests")
    for pair in job["names"]:
        name, _, expression = pair.partition("=")
        tests[name] = remote(candidate, expression or name, name)
    try:
        candidate.ask({"program": job["program"]})
        exec(compile(job["setup"], "setup", "exec"), tests)
    except BaseException as error:
        words = [str(error)] if isinstance(error, (CandidateGone, CandidateError)) else filter(None, told(error))
        say({"passed": False, "why": ": ".join(words)})
        return
    for check in job["checks"]:
        try:
            exec(compile(check, "check", "exec"), tests)
            say({"passed": True})
        except CandidateGone as error:
            say({"passed": False, "why": str(error)})
            return
        except CandidateError as error:
            say({"passed": False, "why": f"{error} in: {check}"[:MAX_WORDS]})
        except BaseException as error:
            say({"passed": False, "why": f"{': '.join(filter(None, told(error)))} in: {check}"[:MAX_WORDS]})


# Programs that read and print


def exchange(job: dict[str, Any], limits: dict[str, Any], say: Say) -> None:
    """Run the program once for each input; say what it printed and how it ended. After a timeout no more are run."""
    for given in job["inputs"]:
        printed, why = run_once(job["program"], given, limits)
        say({"printed": printed, "why": why})
        if why.startswith("the program used up"):
            return


def run_once(program: str, given: str, limits: dict[str, Any]) -> tuple[str, str]:
    """(what was printed, why it is to be taken for nothing)."""
    from_input, to_program = os.pipe()
    from_program, to_output = os.pipe()
    child = os.fork()
    if child == 0:
        os.dup2(from_input, 0)
        os.dup2(to_output, 1)
        with open(os.devnull, "wb") as nothing:
            os.dup2(nothing.fileno(), 2)
        os.closerange(3, 1 << 16)
        limit_program(limits)
        be_program(program)
    os.close(from_input)
    os.close(to_output)
    printed, full = converse(child, to_program, from_program, given.encode("utf-8", "surrogateescape"), limits)
    status = end_all(child)
    if full:
        return "", "the program printed more than its limit of output"
    code = os.waitstatus_to_exitcode(status)
    return printed.decode("utf-8", "replace"), how_it_ended(status) if code else ""


def be_program(program: str) -> NoReturn:
    """As `python program.py`; never returns."""
    sys.argv = ["program.py"]
    sys.stdin = os.fdopen(0, encoding="utf-8", errors="surrogateescape", closefd=False)
    try:
        exec(compile(program, "program.py", "exec"), module_of("__main__"))
    except SystemExit:
        raise
    except BaseException:
        sys.exit(1)
    sys.exit(0)


def converse(
    child: int, to_program: int, from_program: int, given: bytes, limits: dict[str, Any]
) -> tuple[bytes, bool]:
    """Feed and read until the program has ended; what it started and left may go on printing, and is not heard."""
    printed, rest, most = b"", given, limits["output"] * KIBIBYTE
    poll = select.poll()
    poll.register(from_program, select.POLLIN)
    os.set_blocking(to_program, False)
    os.set_blocking(from_program, False)
    feeding, ended = True, False
    while len(printed) <= most:
        if feeding:
            with contextlib.suppress(BlockingIOError):
                try:
                    rest = rest[os.write(to_program, rest) :] if rest else rest
                except BrokenPipeError:
                    rest = b""
            if not rest:
                os.close(to_program)
                feeding = False
        poll.poll(2 if feeding or not ended else 0)
        with contextlib.suppress(BlockingIOError):
            part = os.read(from_program, 1 << 16)
            printed += part
            if part:
                continue
            time.sleep(0.0005)  # all have closed it, but may still run
        if ended:
            break
        ended = os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
    if feeding:
        os.close(to_program)
    os.close(from_program)
    return printed, len(printed) > most


def end_all(child: int) -> int:
    """End the program and, in a sandbox, whatever it has started; its status."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(child, signal.SIGKILL)
    if os.getpid() == 1:  # here -1 means all of this sandbox; anywhere else it would mean all of the user's
        with contextlib.suppress(ProcessLookupError):
            os.kill(-1, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    with contextlib.suppress(ChildProcessError):
        while os.getpid() == 1 and os.waitpid(-1, 0):
            pass
    return status


def become(account: int) -> None:
    """From root to nobody at all: the kernel then counts this run's processes apart, and refuses what is root's."""
    for number in (account, 20000 + account % 40000, 65534):  # a container may have few
        try:
            os.setgroups([])
            os.setresgid(number, number, number)
            os.setresuid(number, number, number)
            break
        except OSError:
            if number == 65534:
                raise


def end_unheard(verdict: int) -> None:
    """In a thread: end when nobody reads the verdict any more, because whoever asked for it has been killed.

    The kernel's own way (PR_SET_PDEATHSIG) does not reach a process whose account has changed.
    """
    reader = select.poll()
    reader.register(verdict, 0)  # the end of its reader is told unasked
    reader.poll()
    if os.getpid() == 1:
        os._exit(1)  # and the kernel ends everything in this namespace
    os.killpg(0, signal.SIGKILL)


def main() -> None:
    """Say that the sandbox stands, do the task, end."""
    if int(sys.argv[1]):
        become(int(sys.argv[1]))
    order = json.loads(sys.argv[2])
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    verdict = os.dup(1)
    os.set_inheritable(verdict, False)

    def say(words: dict[str, Any]) -> None:
        os.write(verdict, json.dumps(words).encode() + b"\n")

    if order["task"] == "nothing":
        say({"stands": True})
        return
    limits = order["limits"]
    limit_all(limits)
    if order["task"] == "calls":
        requests, replies = os.pipe(), os.pipe()
        pid = os.fork()
        if pid == 0:
            try:
                be_candidate(requests[0], replies[1], limits)
            finally:
                os._exit(1)
        os.close(requests[0])
        os.close(replies[1])
        _thread.start_new_thread(end_unheard, (verdict,))
        candidate = Candidate(pid, requests[1], replies[0], limits["output"] * KIBIBYTE)
    say({"stands": True})
    with open(0, "rb", closefd=False) as given:
        job = json.loads(given.read())
    with open(os.devnull, "rb+", 0) as nothing:
        for standard in (0, 1, 2):
            os.dup2(nothing.fileno(), standard)
    lower(
        resource.RLIMIT_CPU, seconds := int(limits["wall_seconds"]) + 60, seconds
    )  # tests of a data set may hang, too
    if order["task"] == "calls":
        examine(job, candidate, say)
    else:
        _thread.start_new_thread(end_unheard, (verdict,))
        exchange(job, limits, say)
    os._exit(0)


if __name__ == "__main__":
    main()
