"""What holds for every test: no network, one thread, fixed seeds, and skips that are named with their remedy."""

import os
import random
import signal
import sys
from collections.abc import Iterator
from unittest.mock import patch

import hypothesis
import pytest

from tests import network, programs

# Read by libraries when they are first imported, and inherited by every process that a test starts.
os.environ.update(
    OMP_NUM_THREADS="1",
    MKL_NUM_THREADS="1",
    TOKENIZERS_PARALLELISM="false",
    HF_HUB_OFFLINE="1",
    HF_HUB_DISABLE_TELEMETRY="1",
    HF_DATASETS_OFFLINE="1",
    TRANSFORMERS_OFFLINE="1",
)
for setting in ("ALFWORLD_DATA", "OPENAI_API_KEY", "OPENAI_BASE_URL", "HF_TOKEN"):  # a user's own must change nothing
    os.environ.pop(setting, None)

# Neither a deadline nor a health check: how long an example takes is up to what else the machine does.
ANY_TIME = {"deadline": None, "suppress_health_check": (hypothesis.HealthCheck.too_slow,)}
hypothesis.settings.register_profile("anywhere", **ANY_TIME)
hypothesis.settings.register_profile("ci", derandomize=True, database=None, **ANY_TIME)
hypothesis.settings.register_profile("slow", max_examples=2000, **ANY_TIME)
hypothesis.settings.load_profile("ci" if programs.in_ci() else "anywhere")


def pytest_configure(config: pytest.Config) -> None:
    network.refuse()
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as in a job that a script left in the background
        signal.signal(signal.SIGINT, signal.default_int_handler)  # what tests start would be deaf to Ctrl-C, too


@pytest.fixture(autouse=True)
def _own_environment() -> Iterator[None]:
    """What a test, or a package that it imports first (alfworld sets ALFWORLD_DATA), writes there ends with it."""
    with patch.dict(os.environ):
        yield


@pytest.fixture(autouse=True)
def _fixed_seeds() -> None:
    random.seed(0)
    if "numpy" in sys.modules:
        sys.modules["numpy"].random.seed(0)
    if "torch" in sys.modules:
        sys.modules["torch"].manual_seed(0)


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Under CI a skip is a failure: what was skipped was not shown to work."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if programs.in_ci() and reporter is not None and reporter.stats.get("skipped") and exitstatus == 0:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Every skip by name, and the one line that installs what was missing."""
    skipped = terminalreporter.stats.get("skipped", [])
    if not skipped:
        return
    terminalreporter.section("skipped", sep="-")
    for report in skipped:
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        terminalreporter.line(f"{report.nodeid}: {reason.removeprefix('Skipped: ')}")
    if programs.missing:
        packages = " ".join(sorted({programs.PACKAGES[name] for name in programs.missing}))
        terminalreporter.line(f"to run these: sudo apt-get install -y --no-install-recommends {packages}")
    if programs.in_ci():
        terminalreporter.line("CI=true: a skip counts as a failure", red=True)
