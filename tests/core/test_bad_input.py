"""Bad input on the command line: one line with the remedy, exit code 2, and nothing half-written."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from agentrl.cli.main import main
from agentrl.config import RunConfig
from agentrl.envs import alfworld
from agentrl.envs.alfworld.sources import load_text
from agentrl.run_directory import RunDirectory
from tests.envs.episodes import official
from tests.trainers.toy import model_folder

SMALL = ["--set", "rollout={tasks_per_step: 1, group_size: 2, max_turns: 2, max_new_tokens: 2}"]
SMALL += ["--set", "rollout.concurrency=2", "--set", "rollout.workers=1"]
SMALL += ["--set", "validation={num_tasks: 1, greedy: false}", "--steps", "1", "--format", "action", "--quiet"]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random model's folder."""
    return model_folder(tmp_path_factory.mktemp("models"))


@pytest.fixture(autouse=True)
def _inside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs of these tests would be written here."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("AGENTRL_CACHE", str(tmp_path / "cache"))


def files() -> list[str]:
    """All that stands in the folder where the command is given."""
    return sorted(str(path) for path in Path().rglob("*"))


def told(capsys: pytest.CaptureFixture[str], *words: object) -> str:
    """The one line that a command prints which cannot be carried out; it leaves everything as it was."""
    before = files()
    code = main([str(word) for word in words])
    out, err = capsys.readouterr()
    assert code == 2, err
    assert err.startswith("agentrl: ") and err.count("\n") == 1 and err.endswith("\n"), err
    assert out == "" or words[0] == "play", out  # the rules of a game are shown before its file is read
    assert "Traceback" not in err and "internal error" not in err and len(err) < 600
    assert files() == before, "something half-written was left"
    return err.removeprefix("agentrl: ").rstrip("\n")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--env gues", "unknown environment 'gues'; did you mean 'guess'? (agentrl list envs)"),
        ("--env no.such.module:WORLD", "no.such.module"),
        ("--env agentrl.envs.guess:Nothing", "Nothing"),
        ("--algo grpoo", "unknown algorithm 'grpoo'; did you mean 'grpo'? (agentrl list algos)"),
        ("--set sed=3", "unknown setting 'sed'; did you mean 'seed'?"),
        ("--set rollout.max_turn=3", "unknown setting 'rollout.max_turn'; did you mean 'rollout.max_turns'?"),
        ("--set env_settings.higest=3", "unknown setting 'env_settings.higest'; did you mean 'env_settings.highest'?"),
        ("--set format_settings.show=true", "unknown setting 'format_settings.show'"),
        ("--set settings.ppo-clip.clip_hi=3", "did you mean 'settings.ppo-clip.clip_high'?"),
        ("--set settings.ppo-clip=3", "settings.ppo-clip is 3; it must be a group of settings"),
        ("--set parts.surrogate=ppo-clp", "unknown part 'ppo-clp'; did you mean 'ppo-clip'? (agentrl list parts)"),
        ("--set parts.surrogates=ppo-clip", "unknown setting 'parts.surrogates'; did you mean 'surrogate'?"),
        ("--set parts=ppo-clip", "parts is 'ppo-clip'; it must be a group of settings"),
        ("--set parts.surrogate={a:1}", "parts.surrogate is"),
        ("--set curriculum=unifrm", "unknown curriculum 'unifrm'; did you mean 'uniform'?"),
        ("--set rollout.top_p=0", "rollout.top_p is 0.0; it must be above 0 and at most 1"),
        ("--set rollout.max_turns=0", "rollout.max_turns is 0; it must be at least 1"),
        ("--set env_settings.highest=0", "env_settings.highest is 0; it must be from 1 to 999999999"),
        ("--set settings.engine-correction.cap=1", "unknown setting 'settings.engine-correction'"),
        ("--set trainer.betas=[0.9]", "trainer.betas is (0.9,); it must be two numbers"),
        ("--set trainer.lr=fast", "trainer.lr is 'fast'; it must be a number"),
        ("--set trainer.lr=nan", "trainer.lr is nan; it must be a finite number"),
        ("--set trainer.lr=.inf", "trainer.lr is inf; it must be a finite number"),
        ("--set trainer.epochs=2.5", "trainer.epochs is 2.5; it must be a whole number"),
        ("--set rollout.deterministic=3", "rollout.deterministic is 3; it must be true or false"),
        ("--set rollout=3", "rollout is 3; it must be a group of settings"),
        ("--set trainer.schedule=cosin", "trainer.schedule is 'cosin'; did you mean 'cosine'?; allowed: constant"),
        ("--set rollout.max_turns=[", "--set rollout.max_turns: '[' is no YAML"),
        ("--set rollout.top_p=0.9", "train with top_p 1 and top_k 0 (they may be used in `agentrl eval`)"),
        ("--set rollout.top_k=5", "train with top_p 1 and top_k 0 (they may be used in `agentrl eval`)"),
        ("--set rollout.temperature=0", "a greedy policy explores nothing: train at a temperature above 0"),
        ("--set model.dtype=float16", "model.dtype is 'float16'"),
        ("--set model.device=gpu", "model.device is 'gpu'; it must be auto, cpu, cuda or cuda:N"),
        ("--set model.lora=-1", "model.lora is -1; it must be 0 (off) or a rank"),
        ("--set train_split=tran", "train_split is 'tran'; did you mean 'train'?; splits: train, valid"),
        ("--set validation.split=vald", "validation.split is 'vald'; did you mean 'valid'?; splits: train, valid"),
        ("--set rollout.constrain=admissible --set env_settings.admissible=true --format tags", "use --format action"),
        ("--set rollout.constrain=admissible", "tells no admissible actions; set rollout.constrain to none"),
        ("--config .", "cannot read .: Is a directory"),
        ("--resume .", "cannot read ./config.yaml: No such file or directory"),
        ("--resume nowhere", "cannot read nowhere/config.yaml: No such file or directory"),
        ("--set data=nowhere", "data is for those that learn from others', as sft"),
        ("--algo sft --set data=nowhere", "data: there is no file or folder nowhere"),
    ],
)
def test_bad_words_are_one_line(words: str, message: str, model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["train", *words.split()]
    if "--resume" not in command:
        small = SMALL if "--format" not in command else [w for w in SMALL if w not in ("--format", "action")]
        command = [command[0], "--model", str(model), *small, *command[1:]]
        command += [] if "--env" in command else ["--env", "guess"]
    assert message in told(capsys, *command)


def test_a_configuration_file_that_is_none_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "mine.yaml"
    for content, message in [
        (b"trainer: {lr: 1e-3", "is no YAML"),
        (b"- a\n- b\n", "holds no settings"),
        (b"\xff\xfe\x00", "is no text in UTF-8"),
        (b"trainer: 3\n", "trainer is 3; it must be a group of settings"),
        (b"rollout:\n  max_turn: 3\n", "did you mean 'rollout.max_turns'?"),
    ]:
        file.write_bytes(content)
        assert message in told(capsys, "train", "--config", file)


# ---- models and checkpoints


def cut(name: str) -> Callable[[Path], None]:
    """Half of a file is missing."""
    return lambda folder: (folder / name).write_bytes(
        (folder / name).read_bytes()[: (folder / name).stat().st_size // 2]
    )


def gone(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).unlink()


def written(name: str, content: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).write_text(content) and None


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (cut("model.safetensors"), "it is damaged or incomplete"),
        (gone("model.safetensors"), "it is damaged or incomplete"),
        (written("model.safetensors", "rubbish"), "it is damaged or incomplete"),
        (cut("config.json"), "it is damaged or incomplete"),
        (gone("config.json"), "it is damaged or incomplete"),
        (written("config.json", "{}"), "it is damaged or incomplete"),
        (cut("tokenizer.json"), "it is damaged or incomplete"),
        (cut("agentrl.json"), "agentrl.json is damaged: it is no JSON"),
        (written("agentrl.json", '{"seed": 3}'), "sets 'seed'; a model may set only"),
        (written("agentrl.json", '{"rollout": {"max_turn": 3}}'), "did you mean 'rollout.max_turns'?"),
    ],
    ids=range(10),
)
@pytest.mark.parametrize("verb", ["train", "eval"])
def test_a_damaged_model_is_one_line(
    harm: Callable[[Path], None],
    message: str,
    verb: str,
    model: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = tmp_path / "damaged"
    shutil.copytree(model, folder)
    (folder / "agentrl.json").write_text('{"format": "action"}\n')
    harm(folder)
    how = ["--model", folder, *SMALL] if verb == "train" else ["--policy", folder, "--out", "judged"]
    line = told(capsys, verb, "--env", "guess", *how)
    assert message in line and str(folder) in line


def test_a_folder_that_is_no_model_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "is damaged or incomplete" in told(capsys, "train", "--env", "guess", "--model", tmp_path, *SMALL)
    missing = tmp_path / "nowhere"
    assert f"there is no model folder '{missing}'" in told(capsys, "train", "--env", "guess", "--model", missing)


@pytest.fixture
def run(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    """A run of one step."""
    folder = tmp_path / "here" / "run"
    assert main(["train", "--env", "guess", "--model", str(model), "--out", str(folder), *SMALL]) == 0
    capsys.readouterr()
    return folder


def test_damage_in_a_run_is_one_line_that_names_the_file(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    step = run / "checkpoints" / "step-000001"
    for path, content in [
        (step / "model.safetensors", b"rubbish"),
        (step / "trainer" / "optimiser.safetensors", b""),
        (step / "trainer" / "state.json", b"{"),
        (run / "checkpoints" / "last.json", b"{"),
        (run / "checkpoints" / "last.json", b"{}"),
        (run / "checkpoints" / "last.json", b"[]"),
        (run / "metrics.jsonl", b"rubbish\n"),
        (run / "meta.json", b"{"),
        (run / "config.yaml", b"env: [\n"),
        (run / "config.yaml", b"enw: guess\n"),
    ]:
        whole = path.read_bytes()
        path.write_bytes(content)
        line = told(capsys, "train", "--resume", run)
        assert path.name in line or "enw" in line, line
        path.write_bytes(whole)
    shutil.rmtree(step)
    assert "is damaged" in told(capsys, "train", "--resume", run)
    assert "step-000001" in told(capsys, "eval", "--env", "guess", "--policy", run, "--out", "judged")


def test_a_run_that_is_there_or_in_use_is_one_line(run: Path, model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["train", "--env", "guess", "--model", model, *SMALL, "--out"]
    assert f"holds a run already; continue it with --resume {run}" in told(capsys, *words, run)
    with RunDirectory.open(run):
        assert f"is in use by process {os.getpid()}" in told(capsys, "train", "--resume", run)
        assert f"is in use by process {os.getpid()}" in told(capsys, *words, run)
    with RunDirectory.create(RunConfig(run_dir="fresh")):
        assert f"fresh is in use by process {os.getpid()}" in told(capsys, *words, "fresh")
    Path("file").write_text("")
    Path("full").mkdir()
    Path("full", "thesis.txt").write_text("years of work")
    assert "file is a file; name a folder" in told(capsys, *words, "file")
    assert "full is not empty (it holds thesis.txt); name a new folder" in told(capsys, *words, "full")
    assert "cannot make file/run" in told(capsys, *words, "file/run")
    assert "full/config.yaml: No such file" in told(capsys, "train", "--resume", "full")


# ---- the household's games


def games(folder: Path, **contents: str) -> Path:
    """One official game a split, in the official tree; contents: split -> what stands in its file instead."""
    text = load_text(official("train")[0].data)
    game = {"pddl_domain": text.domain, "grammar": text.grammar, "pddl_problem": text.problem, "solvable": True}
    for split in alfworld.SPLITS:
        place = folder / "json_2.1.1" / split / "pick_and_place_simple-Mug-None-Desk-1" / "trial"
        place.mkdir(parents=True)
        whole = json.dumps(game | {"walkthrough": list(text.walkthrough)})
        content = {"cut": whole[:-500], "no pddl": json.dumps(game | {"pddl_problem": "(define (problem"})}
        (place / "game.tw-pddl").write_text(content.get(contents.get(split, ""), whole))
    return folder


def test_a_missing_data_folder_is_one_line(tmp_path: Path, model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for folder, wrong in ((tmp_path / "nowhere", "is not a folder"), (tmp_path / "here", "holds no games")):
        how = ["--env", "alfworld", "--data", folder]
        for words in (
            ["train", *how, "--model", model, *SMALL],
            ["eval", *how, "--policy", "random", "--out", "judged"],
            ["play", *how, "--policy", "random"],
        ):
            line = told(capsys, *words)
            assert wrong in line and str(folder) in line and "alfworld-download fetches it" in line
        assert wrong in told(capsys, "tasks", "alfworld", "--set", f"data={folder}")


@pytest.mark.parametrize("engine", ["native", "textworld"])
@pytest.mark.parametrize("kind", ["cut", "no pddl"])
def test_a_damaged_game_is_one_line_that_names_it(
    kind: str, engine: str, tmp_path: Path, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = games(tmp_path / "games", valid_unseen=kind)
    how = ["--env", "alfworld", "--data", folder, "--set", f"env_settings.engine={engine}"]
    line = told(capsys, "train", *how, "--model", model, *SMALL)
    assert "valid_unseen/pick_and_place_simple-Mug-None-Desk-1/trial/game.tw-pddl" in line
    if engine == "native":
        assert "game.tw-pddl" in told(capsys, "eval", *how, "--policy", "random", "--out", "judged", "--quiet")
        assert "game.tw-pddl" in told(capsys, "play", *how, "--policy", "expert")


def test_a_damaged_game_that_a_run_meets_on_its_way_leaves_a_run_that_goes_on_when_it_is_mended(
    tmp_path: Path, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = games(tmp_path / "games", train="cut")
    how = ["--env", "alfworld", "--data", str(folder), "--set", "env_settings.engine=native"]
    assert main(["train", *how, "--model", str(model), *SMALL, "--out", "run"]) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and "game.tw-pddl" in err
    shutil.rmtree(folder)
    games(folder)
    assert main(["train", "--resume", "run", "--quiet"]) == 0
