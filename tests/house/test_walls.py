"""R1, R2: the core imports no room, and no room another. Names in the registry's table are text, not imports."""

import pytest

from tests.house.project import ROOMS, SOURCES, imported_modules, name


def through_a_wall(package: str, module: str) -> bool:
    into = next((room for room in ROOMS if room != "agentrl" and f"{module}.".startswith(f"{room}.")), None)
    return into is not None and into != package


@pytest.mark.parametrize("file", SOURCES, ids=name)
def test_no_import_goes_through_a_wall(file):
    package = next(package for package, folder in ROOMS.items() if file.is_relative_to(folder))
    through = [f"line {line}: {module}" for line, module in imported_modules(file) if through_a_wall(package, module)]
    assert not through, f"{package} imports another room; what two rooms need belongs in the core"


def test_the_wall_test_sees_what_it_is_for():
    assert through_a_wall("agentrl", "agentrl.envs") and through_a_wall("agentrl.eval", "agentrl.trainers.loop")
    assert not through_a_wall("agentrl.envs", "agentrl.envs.guess") and not through_a_wall(
        "agentrl.envs", "agentrl.types"
    )
