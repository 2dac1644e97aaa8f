"""Several splits and decodings in one evaluation: each judged as alone, and set side by side."""

import json

import pytest

from agentrl.api import RunConfig, evaluate_several
from agentrl.cli.main import main
from agentrl.errors import ConfigError, RunDirectoryError
from agentrl.eval.evaluate import evaluate
from agentrl.run_directory import read_json

GUESS = RunConfig(env="guess", env_settings={"admissible": True})


def test_every_split_is_judged_in_every_decoding_as_it_is_alone():
    several = evaluate_several(GUESS, policy="random", splits=("train", "valid"), decodings=(False, True), episodes=9)
    assert [(r.split, r.decoding) for r in several] == [
        ("train", "sampled"),
        ("train", "greedy"),
        ("valid", "sampled"),
        ("valid", "greedy"),
    ]
    for result in several:
        alone = evaluate(GUESS, policy="random", split=result.split, greedy=result.decoding == "greedy", episodes=9)
        assert alone.panel == result.panel and alone.by_kind == result.by_kind


def test_side_by_side_on_the_command_line(capsys, tmp_path):
    out = tmp_path / "judged"
    words = ["eval", "--env", "guess", "--policy", "expert", "--episodes", "5", "--split", "train, valid", "--both"]
    assert main([*words, "--out", str(out)]) == 0
    lines = capsys.readouterr().out.splitlines()
    (head,) = (number for number, line in enumerate(lines) if line.startswith("success, %"))
    assert (
        lines[head].split("  ")[1:]
        and lines[head].split()[2:] == "train sampled train greedy valid sampled valid greedy".split()
    )
    assert lines[head + 1].split()[0] == "all" and lines[head + 1].count("100.0 [56.6, 100.0] of 5") == 4
    assert lines[-1] == f"written to {out / 'summary.json'}"
    summary = read_json(out / "summary.json")
    assert [r["split"] for r in summary["results"]] == ["train", "train", "valid", "valid"]
    for folder in ("train-sampled", "train-greedy", "valid-sampled", "valid-greedy"):
        assert json.loads((out / folder / "results.json").read_text())["success"] == 1.0


def test_one_result_has_the_folder_to_itself(tmp_path):
    evaluate_several(GUESS, policy="expert", episodes=2, out=tmp_path / "one")
    assert (tmp_path / "one" / "results.json").is_file()


def test_what_cannot_be_is_refused_before_anything_is_played(tmp_path):
    with pytest.raises(ConfigError, match="no split 'vald'"):
        evaluate_several(GUESS, policy="expert", splits=("train", "vald"), out=tmp_path / "x")
    assert not (tmp_path / "x").exists()
    evaluate_several(
        GUESS, policy="expert", splits=("valid",), decodings=(False,), episodes=1, out=tmp_path / "y" / "valid-greedy"
    )
    with pytest.raises(RunDirectoryError, match="holds a run already"):
        evaluate_several(
            GUESS, policy="expert", splits=("valid",), decodings=(False, True), episodes=1, out=tmp_path / "y"
        )
    assert sorted(path.name for path in (tmp_path / "y").iterdir()) == ["valid-greedy"]


def test_a_dry_run_names_every_panel(capsys):
    assert main(["eval", "--env", "guess", "--split", "train,valid", "--both", "--dry-run"]) == 0
    out = capsys.readouterr().out
    assert "1000 tasks of train, 1 a task, sampled" in out and "100 tasks of valid, 1 a task, greedy" in out
    assert out.endswith("2200 episodes in all\n")
