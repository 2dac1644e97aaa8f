"""The Java machine on which the simulator runs, and the episodes that live in it, each as if it were alone.

The simulator keeps three things for a whole machine: where its random numbers stand, the next free object number, and
which simplifications hold. Of two episodes in play each would find what the other left, so they are put in place
whenever another episode takes its turn. And it lists what a room or a cup holds in the order of addresses, which
differ from one loading of a task to the next: the machine is told to give every object the same one, and then things
stand in the order in which they came, every time (releases from 1.3 on sort them). So a task is the same episode in a
machine that has played a thousand others and in a new one, whatever else is played in it.
"""

import atexit
import contextlib
import logging
import os
import shutil
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from agentrl.errors import MissingDependency, WorldFailure

INSTALL = "sudo apt-get install -y --no-install-recommends default-jre-headless"
FLAGS = (
    "-XX:+UseSerialGC",  # no threads for it, and half the memory
    "-XX:+UnlockExperimentalVMOptions",
    "-XX:hashCode=2",  # one address for all: sets keep the order in which things came
    "-XX:+ExitOnOutOfMemoryError",
    "-XX:-UsePerfData",  # no file in /tmp
    "--add-opens=java.base/java.util=ALL-UNNAMED",  # to read where the random numbers stand
)
_SCRAMBLE = 0x5DEECE66D
"""java.util.Random.setSeed stores its argument with these bits flipped."""
_END_SECONDS = 5.0
"""A machine that was told to end is killed after so long."""


def java() -> str:
    """Path of the Java runtime: $JAVA_HOME's, or the first on the path.   Raises MissingDependency."""
    home = os.environ.get("JAVA_HOME", "")
    own = os.path.join(home, "bin", "java")
    found = own if home and os.access(own, os.X_OK) else shutil.which("java")
    if found is None:
        raise MissingDependency(f"scienceworld needs Java, which is not installed. Run: {INSTALL}")
    return found


@dataclass(slots=True)
class Place:
    """An instance of the simulator in a machine, and what is its own of the things that the machine has once."""

    interface: Any
    number: int = 0
    """The last object number that was given."""
    random: int = 0
    simplifications: str = ""


class MachineDied(WorldFailure):
    """The Java process has ended, or cannot be reached."""


class Machine:
    """One Java process with any number of simulators. It ends when it is closed, or this process does."""

    def __init__(self, heap: int) -> None:
        """heap: MiB that its objects may take.   Raises MissingDependency without Java, MachineDied if it fails."""
        self.process_id, self._heap = os.getpid(), heap
        self._lock = threading.RLock()
        self._free: list[Place] = []
        self._current: Place | None = None
        self._simplified: str | None = ""
        self._process = _started(heap)
        self._open = True
        atexit.register(self.close)
        try:
            with self._calling():
                self._connect()
        except BaseException:
            self.close()
            raise

    @property
    def pid(self) -> int:
        """Of the Java process."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Can it be asked: open, of this very process (not of one that forked us), and not known to have ended."""
        return self._open and self.process_id == os.getpid() and self._process.poll() is None

    def take(self) -> Place:
        """A simulator that no other episode has."""
        with self._calling():
            if self._free:
                return self._free.pop()
            self._leave()  # to make one takes random numbers
            return Place(self._jvm.scienceworld.runtime.pythonapi.PythonInterface())

    def give_back(self, place: Place) -> None:
        """Let another episode have it."""
        if self.alive:
            self._free.append(place)

    def load(self, place: Place, task: str, variation: int, simplifications: str, *, gold: bool = False) -> str:
        """Set a task up in a simulator.   gold: look for its gold path too.   Returns what is wrong, or nothing."""
        with self._calling():
            self._leave()
            self._simplified = None  # if it fails half way
            error = str(place.interface.load(task, variation, simplifications, gold))
            self._simplified = place.simplifications = str(self._simplifier.getSimplificationsUsed())
            getattr(place.interface, "taskMaker_$eq")(None)  # 10 MB of what else could have been loaded
            self._current = place
            return error

    def step(self, place: Place, command: str) -> tuple[str, int, bool]:
        """Play one command.   Returns what it is answered, the score from -100 to 100, and whether the task is done."""
        with self._calling():
            self._enter(place)
            text = str(place.interface.step(command))
            return text, round(100 * place.interface.getScore()), bool(place.interface.getCompleted())

    def valid(self, place: Place) -> list[str]:
        """Every command that makes sense to the simulator now, in its order; it takes ten times as long as a step."""
        with self._calling():
            self._enter(place)
            return self._texts(place.interface.getValidActionObjectCombinations())

    def gold(self, place: Place) -> list[str]:
        """The path that loading with `gold` found."""
        with self._calling():
            return self._texts(place.interface.getGoldActionSequence())

    def description(self, place: Place) -> str:
        """What the task is."""
        with self._calling():
            return str(place.interface.getTaskDescription())

    def close(self) -> None:
        """End the Java process and bury it; nothing where it was done, or where a fork has inherited this object."""
        if not self._open or self.process_id != os.getpid():
            return
        self._open = False
        atexit.unregister(self.close)
        with contextlib.suppress(Exception):
            self._gateway.close()
        with contextlib.suppress(OSError):
            self._pipe(self._process.stdin).close()  # at its end the machine exits
        self._bury()
        self._pipe(self._process.stdout).close()

    def _connect(self) -> None:
        from py4j.java_gateway import GatewayParameters, JavaGateway

        logging.getLogger("py4j").setLevel(logging.CRITICAL + 1)  # a lost connection is ours to tell, in one line
        port, token = _greeting(self._pipe(self._process.stdout))
        self._gateway = JavaGateway(
            gateway_parameters=GatewayParameters(port=port, auth_token=token, enable_memory_management=False)
        )
        self._jvm = self._gateway.jvm
        nowhere = self._jvm.java.io.PrintStream(os.devnull)
        self._jvm.java.lang.System.setOut(nowhere)  # the simulator prints pages a step
        self._jvm.java.lang.System.setErr(nowhere)
        self._numbers = self._jvm.util.UniqueIdentifier
        self._simplifier = self._jvm.main.scala.scienceworld.runtime.SimplifierProcessor
        self._random = getattr(getattr(self._jvm.scala.util, "Random$"), "MODULE$").self()
        self._state = self._jvm.java.lang.Class.forName("java.util.Random").getDeclaredField("seed")
        self._state.setAccessible(True)

    def _enter(self, place: Place) -> None:
        """Put in place what the machine has once, as this simulator left it."""
        if self._current is place:
            return
        self._leave()
        if place.simplifications != self._simplified:
            self._gateway.detach(self._simplifier.parseSimplificationStr(place.simplifications))
            self._simplified = place.simplifications
        getattr(self._numbers, "count_$eq")(place.number)
        self._random.setSeed(place.random ^ _SCRAMBLE)
        self._current = place

    def _leave(self) -> None:
        if self._current is not None:
            self._current.number = int(self._numbers.count())
            self._current.random = int(self._state.get(self._random))
            self._current = None

    def _texts(self, found: Any) -> list[str]:
        """A Java list of texts in one answer, not in one for each."""
        text = str(self._jvm.java.lang.String.join("\n", found))
        self._gateway.detach(found)
        return text.split("\n") if text else []

    @contextlib.contextmanager
    def _calling(self) -> Iterator[None]:
        """One thread at a time; whatever the machine does wrong is a WorldFailure of one line."""
        from py4j.protocol import Py4JError, Py4JJavaError, Py4JNetworkError

        if self.process_id != os.getpid():
            raise MachineDied("scienceworld: this Java machine belongs to the process that forked this one")
        with self._lock:
            try:
                yield
            except Py4JJavaError as error:
                raise WorldFailure(f"the simulator raised {str(error.java_exception).splitlines()[0]}") from None
            except (Py4JNetworkError, OSError, ValueError) as error:
                raise MachineDied(self._obituary(error)) from None
            except Py4JError as error:
                if self._ended():  # in the midst of its answer
                    raise MachineDied(self._obituary(error)) from None
                raise WorldFailure(f"the Java machine refused a call: {str(error).splitlines()[0]}") from None

    def _obituary(self, error: Exception) -> str:
        if not self._open:
            return "scienceworld: the Java machine was closed"
        self.close()
        code = self._process.returncode
        if code == 3:
            return f"the Java machine ran out of memory: java_heap is {self._heap} MiB"
        how = f"was killed by signal {-code}" if code < 0 else f"ended with code {code}"
        return f"the Java machine {how}" + (f": {error}" if isinstance(error, ValueError) else "")

    def _ended(self) -> bool:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(1.0)
        return self._process.returncode is not None

    def _bury(self) -> None:
        try:
            self._process.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    @staticmethod
    def _pipe(pipe: Any) -> Any:
        assert pipe is not None
        return pipe


def _started(heap: int) -> "subprocess.Popen[bytes]":
    from py4j.java_gateway import find_jar_path
    from scienceworld.constants import BASEPATH, JAR_PATH

    path = os.pathsep.join((find_jar_path(), JAR_PATH))
    server = ("py4j.GatewayServer", "--die-on-broken-pipe", "--enable-auth", "0")
    return subprocess.Popen(
        [java(), f"-Xmx{heap}m", *FLAGS, "-classpath", path, *server],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        cwd=BASEPATH,  # where the simulator finds its table of object types; elsewhere it would write a new one
    )


def _greeting(output: Any) -> tuple[int, str]:
    """Port and token, which the server prints first.   Raises ValueError with what it printed instead."""
    said = []
    for line in output:
        word = line.decode("utf-8", "replace").strip()
        if word.isdigit():
            return int(word), output.readline().decode().strip()
        said.append(word)
    raise ValueError(" ".join(said)[:500] or "it said nothing")


_shared: dict[int, Machine] = {}
"""Heap -> the machine of this process with as much."""


def shared_machine(heap: int) -> Machine:
    """This process's machine with such a heap, started where there is none or it has died."""
    machine = _shared.get(heap)
    if machine is None or not machine.alive:
        if machine is not None:
            machine.close()
        machine = _shared[heap] = Machine(heap)
    return machine


def end_shared_machines() -> None:
    """End them; a later episode starts a new one."""
    while _shared:
        _shared.popitem()[1].close()
