"""The command line: quick help, one line for whatever is wrong, exit codes, no traceback."""

import ast
import os
import signal
import subprocess
import sys

import pytest

from agentrl.cli.main import VERBS, main
from tests.house.project import ROOT

COUNTER = "tests.core.counter_world:WORLD"


def agentrl(*words: str, **options) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "agentrl.cli.main", *words]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **options.pop("env", {})}
    return subprocess.run(command, capture_output=True, text=True, env=environment, **options)


def told(capsys, *words: str) -> str:
    """The one line that a command that cannot be carried out prints."""
    assert main(words) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.startswith("agentrl: ") and err.count("\n") == 1 and err.endswith("\n")
    return err.removeprefix("agentrl: ").rstrip("\n")


@pytest.mark.parametrize(
    "words", [["--help"], ["list"], ["train", "--help"], ["tasks", "--help"], ["doctor", "--help"]]
)
def test_help_and_listings_load_nothing_heavy(words):
    code = (
        "import sys; from agentrl.cli.main import main\n"
        f"try: main({words})\n"
        "except SystemExit as e: assert e.code == 0\n"
        "print(sorted({'torch', 'transformers', 'textworld', 'alfworld', 'numpy', 'rich'} & set(sys.modules)))\n"
        "print([m for m in sys.modules if m.startswith(('agentrl.envs.', 'agentrl.trainers.'))])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-2] == "[]"
    packages = {f"agentrl.trainers.{name}" for name in ("parts", "algorithms", "curricula")}  # hold no logic
    assert set(ast.literal_eval(done.stdout.splitlines()[-1])) <= packages


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help_with_its_arguments(verb, capsys):
    with pytest.raises(SystemExit) as left:
        main([verb, "--help"])
    assert left.value.code == 0
    assert f"usage: agentrl {verb}" in capsys.readouterr().out


def test_without_a_verb_the_verbs_are_shown(capsys):
    assert main([]) == 2
    out = capsys.readouterr().out
    assert all(verb in out for verb in VERBS)
    assert main(["--version"]) == 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["trian"], "unknown verb 'trian'; did you mean 'train'? (agentrl --help)"),
        (["--verbose"], "unknown flag '--verbose' (agentrl --help)"),
        (["train", "--stpes", "3"], "unknown flag '--stpes'; did you mean '--steps'? (agentrl train --help)"),
        (["train", "--steps", "many"], "argument --steps: 'many' is no whole number (agentrl train --help)"),
        (["train", "--steps", "0"], "argument --steps: 0 is too small; it must be at least 1 (agentrl train --help)"),
        (["train", "--lr", "fast"], "argument --lr: 'fast' is no number (agentrl train --help)"),
        (["train", "--env"], "argument --env: expected one argument (agentrl train --help)"),
        (["train", "--env", "alfword"], "unknown environment 'alfword'; did you mean 'alfworld'? (agentrl list envs)"),
        (["train", "--algo", "epoo"], "unknown algorithm 'epoo'; did you mean 'epo'? (agentrl list algos)"),
        (["train", "--memory", "windo"], "unknown memory 'windo'; did you mean 'window'? (agentrl list memories)"),
        (["train", "--format", "tag"], "unknown format 'tag'; did you mean 'tags'? (agentrl list formats)"),
        (["train", "--set", "trainer.lrr=1"], "unknown setting 'trainer.lrr'; did you mean 'trainer.lr'?"),
        (["train", "--set", "lr=1"], "unknown setting 'lr'; did you mean 'trainer.lr'?"),
        (["train", "--set", "trainer.lr=-1"], "trainer.lr is -1.0; it must not be negative"),
        (["train", "--set", "trainer.lr"], "--set 'trainer.lr' is no assignment; write --set trainer.lr=1e-5"),
        (
            ["train", "--set", "parts.advantages=raw-return"],
            "unknown setting 'parts.advantages'; did you mean 'advantage'?",
        ),
        (
            ["train", "--set", "parts.advantage=group-nrm"],
            "unknown part 'group-nrm'; did you mean 'group-norm'? (agentrl list parts)",
        ),
        (
            ["train", "--set", "parts.advantage=ppo-clip"],
            "parts.advantage: 'ppo-clip' is of kind 'surrogate'; it belongs under parts.surrogate",
        ),
        (
            ["train", "--set", "settings.ppo-clp.clip_low=0.1"],
            "unknown setting 'settings.ppo-clp'; did you mean 'ppo-clip'?",
        ),
        (
            ["train", "--set", "settings.clip_low=0.1"],
            "unknown setting 'settings.clip_low'; did you mean 'settings.ppo-clip.clip_low'?",
        ),
        (["train", "--set", "memory_settings.size=3"], "unknown setting 'memory_settings.size'; known here: nothing"),
        (["train", "--set", "train_split=tran"], "train_split is 'tran'; did you mean 'train'?; splits: train, valid"),
        (["train", "--set", "curriculum_settings.shufle=1"], "unknown setting 'curriculum_settings.shufle'"),
        (["train", "--config", "nowhere.yaml"], "cannot read nowhere.yaml: No such file or directory"),
        (["train", "--resume", "nowhere"], "cannot read nowhere/config.yaml: No such file or directory"),
        (
            ["train", "--resume", "x", "--steps", "3"],
            "a resumed run keeps its configuration; give --resume without --steps",
        ),
        (["train", "--data", "x", "--data-less"], "--data and --data-less exclude each other"),
        (["list", "envvs"], "unknown kind 'envvs'; did you mean 'envs'?"),
        (["explain", "epoo"], "unknown name 'epoo'; did you mean 'epo'? (agentrl list)"),
        (["tasks", "gues"], "unknown environment 'gues'; did you mean 'guess'? (agentrl list envs)"),
        (["tasks", COUNTER, "--split", "vald"], "has no split 'vald'; did you mean 'valid'? (splits: train, valid)"),
        (["tasks", COUNTER, "--set", "size=3"], "unknown setting 'env_settings.size'; known here: nothing"),
        (["tasks", COUNTER, "more"], "unknown argument 'more' (agentrl tasks --help)"),
        (["play", "--env", COUNTER, "--task", "valid-9"], "split 'valid' has no task 'valid-9'; did you mean 'valid-"),
        (["play", "--env", COUNTER, "--task", "99"], "split 'valid' has 4 tasks; their places are 0 to 3"),
        (["eval", "--env", COUNTER, "--policy", "randm"], "unknown policy 'randm'; did you mean 'random'?"),
        (["eval", "--env", COUNTER, "--greedy", "--temperature", "1"], "not allowed with argument --greedy"),
        (["eval", "--env", COUNTER, "--split", "tset"], "has no split 'tset'"),
        (["export", "nowhere", "there"], "there is no folder nowhere; name a run directory or a checkpoint"),
    ],
)
def test_bad_input_is_one_line_with_the_remedy(words, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    if words[0] == "train" and "--env" not in words and "--resume" not in words:
        words = [*words, "--env", COUNTER]
    assert message in told(capsys, *words)
    assert not list(tmp_path.iterdir()), "nothing half-written"


def test_a_fault_of_ours_is_one_line_too_and_its_traceback_can_be_had(capsys, monkeypatch):
    monkeypatch.setattr("agentrl.cli.doctor.CHECKS", (lambda: 1 / 0,))
    assert main(["doctor"]) == 1
    assert capsys.readouterr().err == (
        "agentrl: internal error: ZeroDivisionError: division by zero (AGENTRL_DEBUG=1 shows where)\n"
    )
    monkeypatch.setenv("AGENTRL_DEBUG", "1")
    with pytest.raises(ZeroDivisionError):
        main(["doctor"])


def test_a_reader_that_goes_away_is_no_error():
    command = f"{sys.executable} -m agentrl.cli.main explain settings | head -n 1; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True)
    assert done.stderr == "" and done.returncode in (0, 141) and done.stdout.count("\n") == 1


def test_ctrl_c_is_one_line_and_exit_code_130():
    command = [sys.executable, "-m", "agentrl.cli.main", "play", "--env", COUNTER]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, cwd=ROOT, **pipes) as process:
        while "to go" not in process.stdout.readline():
            pass
        process.send_signal(signal.SIGINT)
        assert process.stderr.read() == "agentrl: interrupted\n"
    assert process.returncode == 130


def test_a_person_plays_in_the_terminal():
    done = agentrl("play", "--env", COUNTER, "--task", "valid-3", input="up\nfly\n1\n1\n")
    assert done.returncode == 0 and done.stderr == ""
    assert "3 to go." in done.stdout and "What?" in done.stdout
    assert "success, score 1, reward 1; ended: done after 4 turns, 1 of them refused" in done.stdout
    gone = agentrl("play", "--env", COUNTER, input="")
    assert gone.returncode == 0 and gone.stdout.endswith("the input has ended\n")


def test_each_turn_of_a_policy_is_shown(capsys):
    assert main(["play", "--env", COUNTER, "--policy", "random", "--seed", "4"]) == 0
    out = capsys.readouterr().out
    assert "task valid-1 (short)" in out and "Say up until I say enough." in out
    assert "[1] 1 to go." in out and "  > <action>" in out


def test_an_evaluation_prints_a_table_by_kind_and_writes_a_folder(capsys, tmp_path):
    out = str(tmp_path / "judged")
    words = ["eval", "--env", COUNTER, "--policy", "random", "--repeats", "2", "--out", out, "--seed", "1"]
    assert main(words) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["success", "95", "%", "interval", "episodes", "score", "turns", "invalid", "failures"]
    assert [line.split()[0] for line in lines[1:4]] == ["all", "long", "short"]
    assert "Wilson over tasks" in lines[5] and lines[6] == f"written to {out}"
    assert "holds a run already" in told(capsys, *words)


def test_tasks_are_counted_by_split_and_kind(capsys):
    assert main(["tasks", COUNTER, "--num", "1"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("train: 3 tasks, panel ") and lines[1] == "  kinds: short 3"
    assert lines[4].startswith("valid: 4 tasks, panel ") and lines[4].endswith("(validation)")
    assert lines[5] == "  kinds: long 2, short 2" and lines[6:] == ["  valid-1", "  ..."]


def test_the_help_of_tasks_shows_the_world_s_settings(capsys):
    with pytest.raises(SystemExit):
        main(["tasks", "alfworld", "--help"])
    out = capsys.readouterr().out
    assert "task_types" in out and "Only these task types; empty: all six." in out


def test_a_dry_run_shows_everything_and_writes_nothing(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.yaml").write_text("trainer: {lr: 3e-4, steps: 7}\nrollout: {group_size: 2}\n")
    words = ["train", "--env", COUNTER, "--algo", "epo", "--config", "mine.yaml", "--lora"]
    assert main([*words, "--set", "parts.modifiers=[+engine-correction]", "--steps", "9", "--dry-run"]) == 0
    out = capsys.readouterr().out
    assert "  lr: 0.0003\n" in out and "  steps: 9\n" in out and "  group_size: 2\n" in out and "  lora: 16\n" in out
    assert "# regularisers" in out and "epo-smoothing" in out and "# modifiers     engine-correction" in out
    assert [path.name for path in tmp_path.iterdir()] == ["mine.yaml"]
    assert main(["eval", "--env", COUNTER, "--policy", "tiny", "--dry-run"]) == 0
    assert "# tiny on 4 tasks of valid, 1 a task" in capsys.readouterr().out


def test_what_a_dry_run_shows_is_a_configuration_file(capsys, tmp_path):
    assert main(["train", "--env", COUNTER, "--algo", "rloo", "--seed", "5", "--dry-run"]) == 0
    first = capsys.readouterr().out
    (tmp_path / "shown.yaml").write_text(first)
    assert main(["train", "--config", str(tmp_path / "shown.yaml"), "--dry-run"]) == 0
    assert capsys.readouterr().out == first


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("epo", ["citation", "regularisers  kl (off)", "epo-smoothing", "needs", "settings.epo", "kappa_high"]),
        ("kl", ["kl (part)", "kind       regulariser", "settings.kl", "estimator"]),
        ("window", ["window (memory)", "memory_settings", "size", "Earlier turns that stay visible"]),
        ("action", ["action (format)", "format_settings", "show_admissible"]),
        ("alfworld", ["alfworld (world)", "Is paid", "env_settings", "task_types"]),
        ("uniform", ["uniform (curriculum)", "Draws without replacement"]),
        ("settings", ["## The run", "| `trainer.lr` | `1e-06` | Peak learning rate. |"]),
    ],
)
def test_a_name_is_explained(name, expected, capsys):
    assert main(["explain", name]) == 0
    out = capsys.readouterr().out
    assert [text for text in expected if text not in out] == []


@pytest.mark.parametrize("kind", ["algorithm", "part"])
def test_everything_of_an_algorithm_and_a_part_is_explained(kind, capsys):
    from agentrl.registry import TABLES

    for name in TABLES[kind]:
        if kind == "part" and name in TABLES["algorithm"]:
            continue  # the paper of that name is explained, and the part in it
        assert main(["explain", name]) == 0
        out = capsys.readouterr().out
        rows = [line.split(" ")[0] for line in out.splitlines()]
        wanted = ("citation", "returns", "surrogate", "aggregate") if kind == "algorithm" else ("kind",)
        assert [row for row in (*wanted, "needs", "remembers", "ours") if row not in rows] == [], name
        assert "\n    " in out or kind == "part", f"{name} shows no equation"


def test_an_explanation_tells_what_is_read_remembered_and_ours(capsys):
    for name, expected in {
        "lp-reg": ["needs         old, proxy-keeps, proxy-kl", "filters nothing (ours)"],
        "capo-mask": ["hidden-norm (as sampled)", "remembers  Foresight", "citation   L. C. Melo", "sgd_curvature("],
        "lp-reg-proxy": ["couples    batch (two forward passes)", "smallest(logp, among, share, chance, single)"],
        "kl": ["kl_estimate(logp, reference, estimator, straight_through)", "k3 = exp(-d) - 1 + d"],
    }.items():
        assert main(["explain", name]) == 0
        out = capsys.readouterr().out
        assert [text for text in expected if text not in out] == []


def test_the_listing_names_every_kind_with_a_line_each(capsys):
    assert main(["list"]) == 0
    out = capsys.readouterr().out
    for kind in ("envs:", "memories:", "formats:", "algos:", "parts:", "curricula:", "policies:"):
        assert kind in out
    assert "cannot be read" not in out
    assert main(["list", "algos"]) == 0
    assert all(len(line.split()) > 1 for line in capsys.readouterr().out.splitlines())


def test_the_doctor_names_what_is_missing_with_its_command(capsys, monkeypatch):
    monkeypatch.setattr("agentrl.cli.doctor.shutil.which", lambda name: None)
    monkeypatch.setenv("ALFWORLD_DATA", "/nowhere")
    assert main(["doctor"]) == 1
    out = capsys.readouterr().out
    assert "missing  chromium" in out and "sudo apt-get install -y --no-install-recommends chromium" in out
    assert "wrong    ALFWORLD_DATA" in out and "ok       python" in out


def test_the_doctor_knows_a_torchvision_that_was_built_for_another_torch(monkeypatch):
    from agentrl.cli import doctor

    monkeypatch.setattr(doctor, "_operators_exist", lambda: True)
    for vision, torch, level in [
        ("0.28.0", "2.13.0", "ok"),
        ("0.28.0+cu130", "2.13.0+cpu", "wrong"),
        ("0.24.0", "2.13.0", "wrong"),
    ]:
        monkeypatch.setattr(doctor, "_installed", {"torchvision": vision, "torch": torch}.get)
        assert [finding.level for finding in doctor._torchvision()] == [level]
