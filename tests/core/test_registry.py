"""A name stands for a thing; what is not there is told with the nearest name."""

import sys

import pytest

from agentrl import registry
from agentrl.errors import MissingDependency, UnknownName


def test_an_underscore_is_as_good_as_a_hyphen():
    assert registry.load("part", "group_norm") is registry.load("part", "group-norm")


@pytest.mark.parametrize(
    ("kind", "name", "message"),
    [
        ("env", "alfword", "unknown environment 'alfword'; did you mean 'alfworld'? (agentrl list envs)"),
        ("algorithm", "grpoo", "unknown algorithm 'grpoo'; did you mean 'grpo'? (agentrl list algos)"),
        ("memory", "xxxxxxx", "unknown memory 'xxxxxxx' (agentrl list memories)"),
        ("env", "no.such.module:World", "env 'no.such.module:World': there is no module 'no'"),
        ("part", "agentrl.errors:Nothing", "part 'agentrl.errors:Nothing': module 'agentrl.errors' has no 'Nothing'"),
    ],
)
def test_an_unknown_name_is_one_line(kind, name, message):
    with pytest.raises(UnknownName) as raised:
        registry.load(kind, name)
    assert str(raised.value) == message


def test_a_package_that_is_missing_comes_with_its_command(tmp_path, monkeypatch):
    (tmp_path / "own_world_of_mine.py").write_text("import package_that_is_not_there\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(MissingDependency, match="needs 'package_that_is_not_there'.* pip install package_that_is_not"):
        registry.load("env", "own_world_of_mine:World")


def test_module_and_attribute_stand_for_themselves():
    assert registry.load("env", "agentrl.errors:UnknownName") is UnknownName


def test_third_parties_add_names_by_entry_points(tmp_path, monkeypatch):
    package = tmp_path / "theirs-1.0.dist-info"
    package.mkdir()
    (package / "METADATA").write_text("Metadata-Version: 2.1\nName: theirs\nVersion: 1.0\n")
    (package / "entry_points.txt").write_text("[agentrl.memories]\nmy_memory = agentrl.errors:UnknownName\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert "my-memory" in registry.names("memory")
    assert registry.load("memory", "my-memory") is UnknownName


def test_a_module_of_the_current_folder_is_found_when_it_is_named(tmp_path, monkeypatch):
    (tmp_path / "beside_the_script.py").write_text("PART = 1\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    registry.load("part", "group-norm")
    assert str(tmp_path) not in sys.path
    assert registry.load("part", "beside_the_script:PART") == 1
    assert sys.path[-1] == str(tmp_path)
