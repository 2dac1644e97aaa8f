"""R13: nothing foreign is executed; and nothing of one machine or one person is in the project."""

import ast
import re

import pytest

from tests.house.project import ROOT, SCRIPTS, SOURCES, name, parsed, tracked_files

FORBIDDEN_MODULES = {"cloudpickle", "dill", "joblib", "marshal", "pickle", "shelve"}
FORBIDDEN_CALLS = {
    "eval", "exec", "os.popen", "os.system", "torch.load", "torch.save", "yaml.load", "yaml.unsafe_load",
    "subprocess.getoutput", "subprocess.getstatusoutput",
}  # fmt: skip
FORBIDDEN_WORDS = {"shell": "a command is a list of words", "allow_pickle": "arrays are not pickled"}
PRIVATE_PIPE = "agentrl/workers/"
"""Between a process and the child that it has started itself, over a pipe that no one else can reach."""
INSIDE = "agentrl/sandbox/inside.py"
"""The program that runs in the sandbox: what it executes is foreign, and can reach nothing."""
MACHINE_PATHS = re.compile(r"(?<![\w.~-])/(?:home|Users|root|work|mnt|media)/[\w.-]+")
SECRETS = re.compile(
    r"sk-[A-Za-z0-9_-]{24,}|hf_[A-Za-z0-9]{30,}|gh[pousr]_[A-Za-z0-9]{30,}|AKIA[0-9A-Z]{16}|xox[abp]-[A-Za-z0-9-]{20,}"
    r"|-----BEGIN [A-Z ]*PRIVATE KEY-----"
)


def offences(file):
    """What R13 forbids, as `line N: what`."""
    for node in ast.walk(parsed(file)):
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            modules = [alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or ""]
            for module in modules:
                if module.split(".")[0] in FORBIDDEN_MODULES:
                    yield f"line {node.lineno}: import {module}"
        elif isinstance(node, ast.Call):
            if ast.unparse(node.func) in FORBIDDEN_CALLS:
                yield f"line {node.lineno}: {ast.unparse(node.func)}"
            for keyword in node.keywords:
                value = keyword.value.value if isinstance(keyword.value, ast.Constant) else None
                if keyword.arg in FORBIDDEN_WORDS and value is True:
                    yield f"line {node.lineno}: {keyword.arg}=True: {FORBIDDEN_WORDS[keyword.arg]}"
                if keyword.arg == "trust_remote_code" and value is True:
                    yield f"line {node.lineno}: trust_remote_code is for the user to say"


@pytest.mark.parametrize("file", [*SOURCES, *(f for f in SCRIPTS if "tests" not in f.parts)], ids=name)
def test_nothing_foreign_is_executed(file):
    found = [o for o in offences(file) if not (name(file).startswith(PRIVATE_PIPE) and o.endswith("import pickle"))]
    assert not [o for o in found if not (name(file) == INSIDE and o.endswith((": exec", ": eval")))]


@pytest.mark.parametrize(
    "line",
    [
        "import pickle",
        "from dill import loads",
        "torch.load(path, weights_only=True)",
        "eval(text)",
        "subprocess.run(command, shell=True)",
        "numpy.load(path, allow_pickle=True)",
        "AutoModel.from_pretrained(name, trust_remote_code=True)",
    ],
)
def test_the_rule_sees_what_it_is_for(line, tmp_path):
    file = tmp_path / "module.py"
    file.write_text(line)
    assert list(offences(file))


def test_a_module_of_torch_may_be_put_into_evaluation_mode(tmp_path):
    file = tmp_path / "module.py"
    file.write_text("model.eval()\nmodel = load(name, trust_remote_code=config.trust_remote_code)")
    assert not list(offences(file))


def test_no_file_carries_a_path_of_one_machine_or_a_secret():
    found = []
    for file in tracked_files():
        for number, line in enumerate(file.read_text(encoding="utf-8", errors="replace").splitlines(), start=1):
            found += [f"{file.relative_to(ROOT)}:{number}: {match[0]}" for match in MACHINE_PATHS.finditer(line)]
            found += [f"{file.relative_to(ROOT)}:{number}: a secret?" for _ in SECRETS.finditer(line)]
    assert not found
