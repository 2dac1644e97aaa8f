"""Every registered name is well formed, can be had, and has a place in the reference."""

import re

import pytest

from agentrl import registry
from tests.house.project import ROOT, settings

NAMES = [(kind, name) for kind, table in registry.TABLES.items() for name in table]


@pytest.mark.parametrize(("kind", "name"), NAMES)
def test_every_registered_name_can_be_had(kind, name):
    assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", name), "names are kebab-case"
    thing = registry.load(kind, name)
    assert thing is registry.load(kind, name.replace("-", "_"))
    if kind in ("algorithm", "part"):
        assert thing.name == name


@pytest.mark.parametrize(("kind", "name"), NAMES)
def test_every_registered_name_stands_in_the_documentation(kind, name):
    assert f"`{name}`" in "".join(page.read_text(encoding="utf-8") for page in (ROOT / "docs").rglob("*.md"))


def test_every_kind_has_a_listing_and_a_group_of_entry_points():
    assert set(registry.TABLES) == set(registry.LISTINGS) == set(registry._ENTRY_POINT_GROUPS)
    assert settings()["project"]["name"] == "agentrl"
