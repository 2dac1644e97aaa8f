"""`agentrl data check`: what is told of a file, and the exit code where something is wrong with it."""

import json
from pathlib import Path

import pytest

from agentrl.cli.main import main
from agentrl.data_check import facts_of_rows
from agentrl.errors import DataError

DATA = Path(__file__).parent / "data"


def check(capsys, *words):
    code = main(["data", "check", *map(str, words)])
    out, err = capsys.readouterr()
    return code, out, err


def written(folder, *rows):
    path = folder / "rows.jsonl"
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
    return path


def test_a_good_file_is_told_in_numbers(capsys):
    code, out, _ = check(capsys, DATA / "gsm8k_pairs.jsonl")
    lines = [" ".join(line.split()) for line in out.splitlines()]
    assert code == 0
    assert lines[0] == f"{DATA}/gsm8k_pairs.jsonl: 4 rows, preference, messages"
    assert "score gap: median 1, from 1 to 1" in lines and "prompts: 4" in lines
    assert any(line.startswith("prompt: median ") and line.endswith("letters, largest 210") for line in lines)
    assert any(line.startswith("length gap: chosen - rejected: median ") for line in lines)
    assert "example 1:" in lines and "example 2:" in lines and "example 3:" not in lines


def test_lengths_are_in_tokens_where_a_model_is_named(tmp_path, capsys):
    row = {"prompt": "one two", "chosen": " three four", "rejected": " five"}
    code, out, _ = check(capsys, written(tmp_path, row), "--model", "tiny-random")
    lines = [" ".join(line.split()) for line in out.splitlines()]
    assert code == 0
    assert lines[1:4] == [
        "prompt: median 2 tokens, largest 2",
        "answer: median 2.5 tokens, largest 3",
        "longest: 5 tokens, prompt and answer together",
    ]
    assert "length gap: chosen - rejected: median +1 tokens, chosen is longer in 100%" in lines


def test_what_is_wrong_is_listed_and_the_exit_code_is_1(tmp_path, capsys):
    good = {"prompt": "a", "chosen": "b", "rejected": "c"}
    path = written(tmp_path, good, "{", *[{**good, "rejected": "b"}] * 24, good)
    code, out, err = check(capsys, path)
    lines = out.splitlines()
    assert code == 1 and not err
    assert "25 rows are not as they should be:" in lines
    assert f"  {path}, line 2 is no JSON (Expecting property name enclosed in double quotes at column 2)" in out
    assert sum(f"  {path}, line" in line and "is the same as 'rejected'" in line for line in lines) == 19
    assert lines[-1] == "  ... and 5 more"
    assert f"duplicates:     1 rows: {path}, line 27 is {path}, line 1" in out


def test_a_file_without_a_good_row_has_no_numbers(tmp_path, capsys):
    code, out, _ = check(capsys, written(tmp_path, "[]"))
    assert code == 1
    assert next(line for line in out.splitlines() if line) == "1 row is not as they should be:"


def test_what_else_is_odd_is_counted(tmp_path):
    turn = {"role": "user", "content": "a"}
    said = {"role": "assistant", "content": "b"}
    facts = facts_of_rows(
        str(
            written(
                tmp_path,
                {"prompt": [turn, turn], "completion": [said], "label": True},
                {"prompt": [turn], "completion": [said, turn, said], "label": False, "reference": [said]},
            )
        )
    )
    assert facts.counts == {
        "prompts": 2,
        "labelled true": 1,
        "labelled false": 1,
        "with a reference": 1,
        "with several turns": 1,
        "with two messages of one role in a row": 1,
    }
    assert facts.score_gap is None and facts.longer_chosen is None


def test_prompts_alone_and_ranked_rows_are_told_too(tmp_path):
    facts = facts_of_rows(str(written(tmp_path, {"prompt": "a b"})))
    assert (facts.format, facts.lengths, facts.longest) == ("prompts", {"prompt": (3, 3)}, 3)
    ranked = {"prompt": "a", "responses": ["b", "c", "d"], "scores": [0, 1, 4]}
    facts = facts_of_rows(str(written(tmp_path, ranked)))
    assert facts.score_gap == (4, 4, 4) and facts.longer_chosen is None


def test_the_episodes_of_a_run_are_told(tmp_path, capsys):
    import agentrl

    agentrl.evaluate(env="guess", policy="expert", episodes=3, out=tmp_path / "run", format="action")
    code, out, _ = check(capsys, tmp_path / "run")
    lines = [" ".join(line.split()) for line in out.splitlines()]
    assert code == 0
    assert lines[0] == f"{tmp_path}/run: 3 episodes" and "successes: 3" in lines and "of guess: 3" in lines


def test_what_cannot_be_read_at_all_is_one_line(tmp_path, capsys):
    code, out, err = check(capsys, tmp_path / "nowhere.jsonl")
    assert code == 2 and not out and err.count("\n") == 1 and "there is no file or folder" in err
    with pytest.raises(DataError, match="holds no row"):
        facts_of_rows(str(written(tmp_path)))
    code, _, err = check(capsys, DATA / "hh_pairs.jsonl", "--model", "./nowhere")
    assert code == 2 and "there is no model folder" in err
