"""Questions of one's own: what is read out of a file, what is refused and how, which split a question belongs to."""

import csv
import gzip
import json
import subprocess
import sys
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest

from agentrl.envs import rlvr
from agentrl.envs.rlvr import verifier_processes
from agentrl.envs.rlvr.verifiers_gym import harmless, score
from agentrl.errors import ConfigError, DataError, MissingDependency, UnknownName
from agentrl.trainers.parts.rewrites import ladder
from tests.envs.episodes import play

SAMPLES = Path(__file__).parent / "data" / "rlvr"


@pytest.fixture(autouse=True, scope="module")
def _no_worker_is_left():
    yield
    verifier_processes.end_all()


def written(path, rows):
    path.write_text("".join(row if isinstance(row, str) else json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


def panel(data, split="test", **settings):
    return rlvr.tasks(split, rlvr.Config(data=str(data), **{"split": "test"} | settings))


def asked(tmp_path, *rows, **settings):
    """The questions of some rows in one file."""
    return [task.data for task in panel(written(tmp_path / "own.jsonl", rows), **settings)]


def refused(tmp_path, *rows, **settings):
    with pytest.raises(DataError) as error:
        asked(tmp_path, *rows, **settings)
    message = str(error.value)
    assert "\n" not in message
    return message.replace(f"{tmp_path}/", "")


def solved(tasks, **settings):
    env = rlvr.Env(rlvr.Config(data="own", **settings))
    return [play(env, task, rlvr.solution(task))[2] for task in tasks]


def test_the_gold_answers_of_gsm8k_and_math_verify_themselves():
    gsm8k, mathematics = panel(SAMPLES / "gsm8k_train.jsonl", "train"), panel(SAMPLES / "math.jsonl")
    assert {task.data.verifier for task in gsm8k} == {"numeric"} and {task.kind for task in gsm8k} == {"gsm8k"}
    assert {task.data.verifier for task in mathematics} == {"math"} and "Algebra" in {task.kind for task in mathematics}
    assert {task.difficulty for task in mathematics} == {0.5, 0.75, 1.0}
    for outcome in solved([*gsm8k, *mathematics]):
        assert outcome.success and outcome.score == 1.0 and outcome.components == {"correct": 1.0, "format": 1.0}
    natalia = next(task for task in gsm8k if task.data.text.startswith("Natalia"))
    assert natalia.data.gold == "72" and "<<" not in natalia.data.worked
    assert rlvr.solution(natalia) == ["#### 72"] and rlvr.hints(natalia)["solution"] == ["the answer is 72"]
    assert rlvr.hints(natalia)["planning"] == ["Natalia sold 48/2 = 24 clips in May."]


def test_an_agent_is_told_how_its_answer_is_written():
    config = rlvr.Config(data=str(SAMPLES))
    told = {task.data.verifier: rlvr.brief(task, config).instructions for task in rlvr.tasks("train", config)}
    assert told["numeric"].endswith("End with a line of #### and the final answer, one number.")
    assert told["math"].endswith("Put the final answer, in LaTeX, into \\boxed{}.")
    own = rlvr.Config(data=str(SAMPLES), instructions="Think.")
    assert {rlvr.brief(task, own).instructions for task in rlvr.tasks("train", own)} == {"Think."}
    plain = rlvr.Config()
    assert rlvr.brief(rlvr.tasks("valid")[0], plain).instructions == rlvr.instructions(plain)


@pytest.mark.parametrize(
    ("row", "verifier", "answers", "form"),
    [
        ({"question": "2 + 2?", "answer": "4"}, "numeric", ("4",), "hashes"),
        ({"prompt": "2 + 2?", "final_answer": 4}, "numeric", ("4",), "hashes"),
        ({"query": "Root?", "target": "\\sqrt{2}"}, "math", ("\\sqrt{2}",), "boxed"),
        ({"problem": "2 + 2?", "answer": "4"}, "math", ("4",), "boxed"),
        ({"problem": "2?", "solution": "So it is\n$\\boxed{1}$, no, $\\boxed{2}$."}, "math", ("2",), "boxed"),
        ({"question": "Where?", "answer": ["Paris", "Lutetia"]}, "exact", ("Paris", "Lutetia"), "plain"),
        ({"question": "Sky?", "answer": True}, "exact", ("yes",), "plain"),
        ({"question": "Which?", "choices": ["a", "b"], "answer": 1}, "choice", ("B",), "plain"),
        ({"question": "Which?", "options": {"A": "x", "B": "y"}, "answer": "B"}, "choice", ("B",), "plain"),
        ({"question": "Which?", "choices": {"text": ["x"], "label": "A"}, "answerKey": "A"}, "choice", ("A",), "plain"),
        ({"question": "Digits?", "answer": "[0-9]+", "verifier": "regex"}, "regex", ("[0-9]+",), "plain"),
        ({"question": "2 + 2?", "answer": "4", "verifier": "exact"}, "exact", ("4",), "plain"),
        (
            {"prompt": [{"role": "user", "content": "6?"}], "reward_model": {"ground_truth": "6"}, "data_source": "s"},
            "numeric",
            ("6",),
            "hashes",
        ),
    ],
)  # fmt: skip
def test_columns_and_verifiers_are_seen_by_their_names(row, verifier, answers, form, tmp_path):
    (question,) = asked(tmp_path, row)
    assert (question.verifier, question.answers, question.form) == (verifier, answers, form)


def test_settings_name_columns_verifier_and_form(tmp_path):
    row = {"frage": "Zwei?", "loesung": {"zahl": "2"}, "fach": "Mathe", "stufe": "hard", "teil": "val", "answer": "9"}
    names = {"prompt_column": "frage", "answer_column": "loesung.zahl", "kind_column": "fach"}
    names |= {"difficulty_column": "stufe", "split_column": "teil"}
    (task,) = panel(written(tmp_path / "own.jsonl", [row]), "valid", **names, verifier="exact", form="boxed")
    assert task.data.text == "Zwei?" and rlvr.solution(task) == ["\\boxed{2}"]
    assert (task.kind, task.difficulty, task.split, task.data.verifier) == ("Mathe", 1.0, "valid", "exact")
    message = refused(tmp_path, row, prompt_column="fragen")
    assert message.startswith(
        "data: own.jsonl, line 1 has no column 'fragen' (env_settings.prompt_column); did you mean"
    )


def test_a_conversation_is_asked_as_one_text(tmp_path):
    def said(*turns):
        return {"prompt": [{"role": role, "content": text} for role, text in turns], "answer": "1"}

    one, several = asked(
        tmp_path,
        said(("system", "Be brief."), ("user", "One?")),
        said(("user", "Two?"), ("assistant", "2"), ("user", "One?")),
    )
    assert one.text == "Be brief.\n\nOne?"
    assert several.text == "User: Two?\n\nAssistant: 2\n\nUser: One?"


def test_options_are_shown_under_a_question_that_does_not_have_them(tmp_path):
    row = {"question": "Capital?", "choices": ["Oslo", "Rome"], "answer": "Rome"}
    shown, has = asked(tmp_path, row, row | {"question": "Oslo or Rome?"})
    assert shown.text == "Capital?\nA. Oslo\nB. Rome" and has.text == "Oslo or Rome?"
    assert [outcome.success for outcome in solved(panel(str(tmp_path / "own.jsonl")))] == [True, True]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (["{not json\n"], "data: own.jsonl, line 1 is no JSON (Expecting property name enclosed in double quotes"),
        ([{"question": "a", "answer": "1"}, "\n", "[1, 2]\n"], "own.jsonl, line 3 is a list; it must be an object"),
        (
            [{"frage": "a", "answer": "1"}],
            "data: own.jsonl, line 1 has no question: none of the columns prompt, question, problem, instruction, "
            "query, input; it has: frage, answer (name the right one with env_settings.prompt_column)",
        ),
        ([{"question": "a"}], "data: own.jsonl, line 1 has no answer: none of the columns answer, final_answer,"),
        ([{"question": " ", "answer": "1"}], "data: own.jsonl, line 1 has an empty 'question'"),
        ([{"question": 7, "answer": "1"}], "line 1 has a 'question' that is neither a text nor a list of messages"),
        ([{"question": [{"role": "assistant", "content": "x"}], "answer": "1"}], "last message is of 'assistant'"),
        ([{"question": "a", "answer": ""}], "data: own.jsonl, line 1 has an empty answer (env_settings.bad_rows=skip"),
        ([{"question": "a", "answer": {"b": 1}}], "line 1 has a 'answer' that is no text, number, or list of these"),
        ([{"question": "a", "solution": "long\nand no box"}], "line 1 has a solution without a \\boxed{} answer"),
        ([{"question": "a", "answer": "1", "verifier": "maths"}], "has the verifier 'maths'; did you mean 'math'?"),
        ([{"question": "a", "answer": "1", "verifier": "os:getcwd"}], "has the verifier 'os:getcwd'"),
        ([{"question": "a", "answer": "(", "verifier": "regex"}], "which is no regular expression (missing ), unterm"),
        ([{"question": "a", "choices": ["x"], "answer": "D"}], "has the answer 'D'; a choice's is one of A, or an opt"),
        ([{"question": "a", "answer": "1", "split": "trian"}], "line 1 has the split 'trian'; known: train, training"),
        ([], "data: own.jsonl holds no question"),
    ],
)  # fmt: skip
def test_what_cannot_be_asked_is_refused_with_its_line_and_what_would_be_right(rows, message, tmp_path):
    assert message in refused(tmp_path, *rows)


def test_a_number_that_is_asked_for_must_be_one(tmp_path):
    message = refused(tmp_path, {"question": "a", "answer": "blue"}, verifier="numeric")
    assert "line 1 has the answer 'blue', which is no number: use verifier math or exact" in message
    with pytest.raises(UnknownName, match="did you mean 'numeric'"):
        asked(tmp_path, {"question": "a", "answer": "1"}, verifier="numerical")


def test_bad_rows_are_left_out_where_that_is_wanted(tmp_path):
    rows = [{"question": "a", "answer": ""}, {"question": "b", "answer": "1"}]
    assert [question.text for question in asked(tmp_path, *rows, bad_rows="skip")] == ["b"]


def test_every_kind_of_file_holds_the_same_questions(tmp_path):
    rows = [{"question": f"{n} + 1?", "answer": str(n + 1)} for n in range(5)]
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    (tmp_path / "a.jsonl").write_text("\ufeff" + lines + "\n", encoding="utf-8")
    (tmp_path / "b.jsonl.gz").write_bytes(gzip.compress(lines.encode()))
    (tmp_path / "c.json").write_text(json.dumps(rows), encoding="utf-8")
    with open(tmp_path / "d.csv", "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, ("question", "answer"))
        writer.writeheader()
        writer.writerows(rows)
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "e.parquet")
    files = sorted(tmp_path.iterdir())
    found = [[(task.data.text, task.data.answers) for task in panel(file)] for file in files]
    assert len(found) == 5 and all(one == found[0] for one in found) and len(found[0]) == 5
    assert [(task.data.text, task.data.answers) for task in panel(tmp_path)] == found[0], "each is asked once"


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("own.jsonl.gz", b"no gzip", "own.jsonl.gz cannot be read: Not a gzipped file"),
        (
            "own.jsonl",
            b'{"question": "a", "answer": 1}\n\xff\n',
            "own.jsonl, line 2 is no UTF-8; save the file as UTF-8",
        ),
        ("own.json", b'{"question": "a"}', "own.json holds a dict; it must be a list of objects"),
        ("own.json", b'[\n{"question"', "own.json, line 2 is no JSON; JSON lines belong into a .jsonl file"),
        ("own.csv", b"question,answer\na,1\nb\n", "own.csv, line 3 has not as many fields as the first line"),
        ("own.parquet", b"PAR1 no more", "own.parquet cannot be read"),
        ("own.pkl", b"", "own.pkl has an unknown ending; known: .jsonl, .ndjson, .json, .csv, .parquet, with .gz too"),
    ],
)
def test_a_damaged_file_is_one_line(name, content, message, tmp_path):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError) as error:
        panel(tmp_path / name)
    assert message in str(error.value) and "\n" not in str(error.value)


def test_a_name_that_stands_for_nothing_names_the_nearest_file(tmp_path):
    written(tmp_path / "train.jsonl", [{"question": "a", "answer": "1"}])
    with pytest.raises(DataError, match=r"no file or folder .*trian.jsonl; did you mean 'train.jsonl'"):
        panel(tmp_path / "trian.jsonl")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="holds no file of questions"):
        panel(tmp_path / "empty")


def test_without_pyarrow_parquet_is_one_line_with_the_command(tmp_path):
    written(tmp_path / "own.parquet", [])
    code = (
        "import sys; sys.modules['pyarrow'] = None\nfrom agentrl.envs import rlvr\n"
        f"try: rlvr.tasks('train', rlvr.Config(data={str(tmp_path)!r}))\n"
        "except Exception as error: print(type(error).__name__, error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.startswith(MissingDependency.__name__) and "pip install 'agentrl[parquet]'" in done.stdout


def splits_of(data, **settings):
    config = rlvr.Config(data=str(data), **settings)
    found = {split: [task.data.text for task in rlvr.tasks(split, config)] for split in rlvr.SPLITS}
    ids = [task.id for split in rlvr.SPLITS for task in rlvr.tasks(split, config)]
    assert len(set(ids)) == len(ids) and all(len(set(texts)) == len(texts) for texts in found.values())
    return found


def numbered(first, last, **more):
    return [{"question": f"What is {n}?", "answer": n, **more} for n in range(first, last)]


def test_questions_without_a_split_are_split_by_hash(tmp_path):
    found = splits_of(written(tmp_path / "own.jsonl", numbered(0, 400)))
    assert sum(map(len, found.values())) == 400 and 280 < len(found["train"]) < 360
    more = splits_of(written(tmp_path / "own.jsonl", numbered(-50, 500)))
    assert all(set(found[split]) <= set(more[split]) for split in found), "more data moves no question"
    capped = splits_of(tmp_path / "own.jsonl", num_train=7, num_valid=3)
    assert {split: len(texts) for split, texts in capped.items()} == {"train": 7, "valid": 3, "test": 3}


def test_a_folder_with_train_and_test_keeps_them_and_takes_valid_from_train(tmp_path):
    written(tmp_path / "gsm_train.jsonl", numbered(0, 200))
    written(tmp_path / "gsm_test.jsonl", numbered(150, 250))
    found = splits_of(tmp_path)
    assert len(found["test"]) == 100 and not set(found["test"]) & {*found["train"], *found["valid"]}
    assert len(found["train"]) + len(found["valid"]) == 150 and found["valid"]


def test_a_column_or_the_name_of_a_file_says_the_split(tmp_path):
    rows = [*numbered(0, 3, split="training"), *numbered(3, 5, split="dev"), *numbered(5, 6, split="test")]
    assert [len(texts) for texts in splits_of(written(tmp_path / "own.jsonl", rows)).values()] == [3, 2, 1]


def test_data_to_judge_on_are_valid_and_test_and_not_to_train_on(tmp_path):
    config = rlvr.Config(data=written(tmp_path / "own_test.jsonl", numbered(0, 9)))
    valid, test = rlvr.tasks("valid", config), rlvr.tasks("test", config)
    assert len(valid) == 9 and [task.id for task in valid] == [task.id for task in test]
    with pytest.raises(ConfigError, match="has no question to train on; it holds 9 to judge on"):
        rlvr.tasks("train", config)


def test_a_file_that_has_changed_is_read_anew(tmp_path):
    data = written(tmp_path / "own.jsonl", numbered(0, 1))
    assert len(panel(data)) == 1
    written(tmp_path / "own.jsonl", numbered(0, 30))
    assert len(panel(data)) == 30


@pytest.mark.parametrize(
    ("levels", "difficulties"),
    [
        (["Level 1", "Level 5", "Level ?"], [0.0, 1.0, None]),
        ([1, 3, 4], [0.0, 0.5, 0.75]),
        ([0.1, 0.9, 1.0], [0.1, 0.9, 1.0]),
        (["easy", "medium", "hard"], [0.0, 0.5, 1.0]),
        ([800, 1800, 2800], [0.0, 0.5, 1.0]),
        (["AMC", "AIME", None], [None, None, None]),
    ],
)
def test_difficulty_goes_from_0_to_1(levels, difficulties, tmp_path):
    rows = [{"question": f"{n}?", "answer": n, "level": level} for n, level in enumerate(levels)]
    assert [task.difficulty for task in panel(written(tmp_path / "own.jsonl", rows))] == difficulties


def test_rows_may_come_from_a_function():
    tasks = panel("tests.envs.judgements:questions")
    assert len(tasks) == 40 and tasks[3].data.gold == "6" and all(o.success for o in solved(tasks[:5]))
    with pytest.raises(DataError, match="judgements:no_rows, row 1 is a int; it must be a dict of columns"):
        panel("tests.envs.judgements:no_rows")
    with pytest.raises(DataError, match=r"judgements:fail failed: ArithmeticError: no such sum"):
        panel("tests.envs.judgements:fail")


def test_the_expert_may_show_its_work(tmp_path):
    (task,) = panel(written(tmp_path / "own.jsonl", [{"question": "a", "answer": "2 is <<1+1=2>>2\n#### 2"}]))
    (worked,) = panel(tmp_path / "own.jsonl", worked_solutions=True)
    assert rlvr.solution(task) == ["#### 2"] and rlvr.solution(worked) == ["2 is 2\n#### 2"]
    assert solved([worked])[0].success


def test_a_pattern_has_an_expert_where_the_row_has_an_example(tmp_path):
    row = {"question": "Digits?", "answer": "[0-9]+", "verifier": "regex"}
    without, having = panel(written(tmp_path / "own.jsonl", [row, row | {"question": "More?", "example": "42"}]))
    assert rlvr.solution(without) is None and rlvr.hints(without) != {}
    assert rlvr.solution(having) == ["42"] and solved([having])[0].success


def test_reasoning_gym_asks_and_scores():
    """In this process; through workers it is scored by the slow test below."""
    config = rlvr.Config(data="reasoning-gym:chain_sum,spiral-matrix,propositional_logic", num_train=6, num_valid=3)
    tasks = [task for split in rlvr.SPLITS for task in rlvr.tasks(split, config)]
    assert len(tasks) == 12 == len({task.data.text for task in tasks})
    assert {task.kind for task in tasks} == {"chain_sum", "spiral_matrix", "propositional_logic"}
    for task in tasks[:3]:
        if task.kind == "propositional_logic":
            assert rlvr.solution(task) is None and rlvr.hints(task) == {}
        else:
            assert score(*task.data.row.values(), *rlvr.solution(task)) == 1.0
        assert score(*task.data.row.values(), "__import__('os').abort()") < 0.1
    with pytest.raises(ConfigError, match="has no generator 'chain_sums'; did you mean 'chain_sum'"):
        rlvr.tasks("train", rlvr.Config(data="reasoning-gym:chain_sums"))
    with pytest.raises(ConfigError, match="'game_of_life_halting', which is left out"):
        rlvr.tasks("train", rlvr.Config(data="reasoning-gym:game_of_life_halting"))


@pytest.mark.slow
def test_the_answers_of_reasoning_gym_are_scored_in_workers():
    config = rlvr.Config(data="reasoning-gym:chain_sum,spiral_matrix", num_valid=4)
    for task in rlvr.tasks("valid", config):
        assert solved([task])[0].success and not play(rlvr.Env(config), task, ["__import__('os').abort()"])[2].success


@pytest.mark.parametrize(
    ("answer", "evaluated"),
    [
        ("x**2 + sin(x)/3 + C", True),
        ("[['Q', '_'], ['_', 'Q']]", True),
        ("[[0, 1], [2, 3]]", True),
        ("['A', 'B']", True),
        ("__import__('os')", False),
        ("().__class__", False),
        ("(1).real", False),
        ("exec('1')", False),
        ("'a'.join('b')", False),
        ("lambda: 0", False),
        ("open('x')", False),
    ],
)
def test_only_harmless_answers_are_handed_to_a_score_that_evaluates_them(answer, evaluated):
    assert harmless(answer) is evaluated


def test_hints_for_every_kind_of_puzzle_rise_to_the_answer():
    panel_of_puzzles = rlvr.tasks("valid", rlvr.Config(levels=(1, 2, 3, 4, 5), num_valid=90))
    assert {task.kind for task in panel_of_puzzles} == set(rlvr.Config().kinds)
    for task in panel_of_puzzles:
        tiers = rlvr.hints(task)
        assert all(tiers[tier] for tier in ("knowledge", "planning", "solution"))
        assert " ".join(tiers["solution"]) == task.data.answer
        rungs = ladder(tiers, ("knowledge", "planning", "solution"), 4)
        assert rungs[0].text.startswith("Hint: Kinds of action") and rungs[-1].text.endswith(
            f"{tiers['solution'][-1]}."
        )
