"""mypy sees every room: `make lint` checks as many files as there are."""

import mypy.modulefinder
import mypy.options
import pytest

from make.check_types import make_links, rooms, source_files
from tests.house.project import ROOT, module_name


def test_mypy_finds_every_file_of_every_room_in_the_folder_of_links(tmp_path):
    links = make_links(tmp_path / "links")
    paths = mypy.modulefinder.SearchPaths((str(links),), (), (), ())
    options = mypy.options.Options()
    options.namespace_packages = False  # as `make lint` has it: a folder of data is no package
    finder = mypy.modulefinder.FindModuleCache(paths, None, options)
    found = {source.module for source in finder.find_modules_recursive("agentrl")}
    assert found == {module_name(file) for file in source_files()}


def test_links_follow_a_file_that_goes_and_one_that_comes(tmp_path):
    root = tmp_path / "checkout"
    for folder in ("agentrl", "envs"):
        (root / folder).mkdir(parents=True)
        (root / folder / "__init__.py").touch()
    (root / "pyproject.toml").write_text('[tool.setuptools.package-dir]\n"agentrl.envs" = "envs"\n')
    (root / "agentrl" / "early.py").touch()
    package = make_links(tmp_path / "links", root) / "agentrl"
    (root / "agentrl" / "early.py").rename(root / "agentrl" / "late.py")
    make_links(tmp_path / "links", root)
    assert sorted(entry.name for entry in package.iterdir()) == ["__init__.py", "envs", "late.py"]


@pytest.mark.parametrize("package", rooms())
def test_every_room_is_there(package):
    assert (rooms()[package] / "__init__.py").is_file(), f"{package} is listed in pyproject.toml of {ROOT.name}"
