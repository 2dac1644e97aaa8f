"""R3: what is asked for lightly is given lightly; and the export list is what it says."""

import json
import os

import pytest

import agentrl
from agentrl._public import _WHERE
from tests.house.project import ROOT, fresh

HEAVY = {
    "accelerate", "alfworld", "datasets", "jericho", "numpy", "openai", "peft", "tensorboard", "textworld",
    "tokenizers", "torch", "transformers", "trl",
}  # fmt: skip
ASK = """
import contextlib, io, json, sys
{code}
print(json.dumps(sorted(sys.modules)))
"""
HELP = """
from agentrl.cli.main import main
sys.argv = {argv!r}
with contextlib.redirect_stdout(io.StringIO()) as shown, contextlib.suppress(SystemExit):
    main()
assert "usage" in shown.getvalue().lower(), shown.getvalue()
"""


def modules_after(code: str) -> set[str]:
    done = fresh(ASK.format(code=code), cwd=os.path.dirname(ROOT))
    assert done.returncode == 0, done.stderr
    return set(json.loads(done.stdout))


@pytest.mark.parametrize(
    "code",
    [
        "import agentrl",
        "import agentrl.types, agentrl.config, agentrl.registry, agentrl.seeds",
        HELP.format(argv=["agentrl", "--help"]),
        HELP.format(argv=["agentrl", "train", "--help"]),
    ],
    ids=["import", "core types", "--help", "train --help"],
)
def test_a_light_thing_loads_nothing_heavy(code):
    loaded = modules_after(code)
    assert not {module.partition(".")[0] for module in loaded} & HEAVY
    worlds = {module for module in loaded if module.startswith("agentrl.envs.")}
    assert not worlds


def test_every_exported_name_has_a_place_and_is_sorted():
    assert set(agentrl.__all__) == set(_WHERE) | {"__version__"}
    assert agentrl.__all__ == sorted(agentrl.__all__)


@pytest.mark.parametrize("name", agentrl.__all__)
def test_every_exported_name_can_be_had(name):
    assert getattr(agentrl, name) is not None


def test_a_name_that_is_not_offered_is_refused():
    with pytest.raises(AttributeError, match="no attribute 'Trainer'"):
        agentrl.Trainer  # noqa: B018
