"""The wheel: every folder and data file is in it, and it imports outside the checkout, in spawned processes too."""

import importlib.util
import os
import shutil
import subprocess
import sys
import sysconfig
import zipfile

import pytest

from tests.house.project import ROOMS, ROOT, SOURCES, fresh, module_name, name, settings, tracked_files

SITE_PACKAGES = sysconfig.get_paths()["purelib"]


def package_folders():
    return {module_name(init) for folder in ROOMS.values() for init in folder.rglob("__init__.py")}


def test_pyproject_lists_every_package_folder():
    assert set(settings()["tool"]["setuptools"]["packages"]) == package_folders()


def test_every_folder_with_python_files_is_a_package():
    without = {str(file.parent.relative_to(ROOT)) for file in SOURCES if not (file.parent / "__init__.py").is_file()}
    assert not without


def test_every_command_and_extra_stands_for_something():
    table = settings()["project"]
    for path in table["scripts"].values():
        module, _, attribute = path.partition(":")
        assert hasattr(importlib.import_module(module), attribute)
    assert {"lora", "vision", "parquet", "reasoning-gym", "test", "lint"} == set(table["optional-dependencies"])


def test_constraints_pin_every_dependency_exactly():
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = dict(line.lower().replace("_", "-").split("==") for line in lines if line and not line.startswith("#"))
    table = settings()["project"]
    extras = (
        line
        for extra in ("lora", "parquet", "reasoning-gym", "test", "lint")
        for line in table["optional-dependencies"][extra]
    )
    for requirement in [*table["dependencies"], *extras]:
        package = requirement.lower().partition(">=")[0].partition("[")[0].partition("<")[0]
        assert package in pins, f"constraints.txt does not pin {package}"
    assert "+" not in pins["torch"], "a local version would keep torch of a GPU machine out"


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    """A copy of the checkout: what is built in it leaves the checkout as it is."""
    copy = tmp_path_factory.mktemp("packaging") / "checkout"
    for file in tracked_files():
        target = copy / file.relative_to(ROOT)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, target)
    return copy


@pytest.fixture(scope="module")
def installed(sources):
    """The wheel, unpacked: what `pip install` makes of it. Built without the network."""
    code = "import sys; from setuptools import build_meta; print(build_meta.build_wheel(sys.argv[1]))"
    wheels = sources.parent / "wheels"
    wheels.mkdir()
    command = [sys.executable, "-W", "ignore", "-c", code, str(wheels)]
    done = subprocess.run(command, cwd=sources, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (wheel,) = wheels.glob("agentrl-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(sources.parent / "site")
    return sources.parent / "site"


def from_the_wheel(code, installed, cwd):
    """Run code where only the wheel and the packages of this environment are to be found, not the editable checkout."""
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(installed), SITE_PACKAGES])}
    return fresh(code, "-S", cwd=cwd, env=env)


def test_the_wheel_holds_every_source_and_data_file_and_nothing_else(installed):
    expected = set()
    for file in tracked_files():
        package = next((p for p, folder in ROOMS.items() if file.is_relative_to(folder)), None)
        if package is not None:
            expected.add(str(os.path.join(*package.split("."), file.relative_to(ROOMS[package]))))
    found = {str(file.relative_to(installed)) for file in installed.rglob("*") if file.is_file()}
    assert {path for path in found if ".dist-info" not in path} == expected


def test_the_wheel_imports_outside_the_checkout_and_in_a_spawned_process(installed, tmp_path):
    code = """
import importlib.util, multiprocessing, agentrl
if __name__ == "__main__":
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        there = pool.apply(importlib.util.find_spec, ("agentrl.envs.guess",)).origin
    print(importlib.import_module("agentrl.envs.guess").__file__, there, agentrl.__version__)
"""
    done = from_the_wheel(code, installed, tmp_path)
    assert done.returncode == 0, done.stderr
    here, there, version = done.stdout.split()
    assert here == there == str(installed / "agentrl" / "envs" / "guess" / "__init__.py")
    assert version == settings()["project"]["version"]


@pytest.mark.slow
def test_every_module_of_the_wheel_imports(installed, tmp_path):
    modules = sorted(module_name(file) for file in SOURCES if file.name != "__main__.py")
    code = f"import importlib\nfor name in {modules}: print(importlib.import_module(name).__file__)"
    done = from_the_wheel(code, installed, tmp_path)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == len(modules)
    assert all(line.startswith(str(installed)) for line in done.stdout.splitlines())


def test_a_checkout_that_hides_the_installed_package_says_so(installed, sources):
    done = from_the_wheel("import agentrl", installed, sources)
    assert done.returncode != 0
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("ImportError: the agentrl folder of the checkout") and "pip install -e ." in last


def test_an_editable_checkout_imports_from_its_own_folder():
    done = fresh("import agentrl.envs.guess as m; print(m.__file__)", cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert name(ROOT / done.stdout.strip()) == os.path.join("envs", "guess", "__init__.py")
