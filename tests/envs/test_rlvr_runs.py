"""Runs on questions of one's own, by the command line: the expert, two steps of a tiny model, rewards of one's own."""

import json
from pathlib import Path

import pytest

import agentrl
from agentrl.cli.main import main
from agentrl.config import RunConfig
from agentrl.envs.rlvr import verifier_processes
from agentrl.errors import ConfigError, UnknownName
from agentrl.models.load import save_model
from agentrl.own_reward import NamedReward, learning_from_reward
from agentrl.records import read_trajectories
from agentrl.run_directory import read_config
from tests.models import tiny_model

SAMPLES = Path(__file__).parent / "data" / "rlvr"
HERE = "tests.envs.judgements"
NUMBERS = [str(number) for number in range(20)]


@pytest.fixture(autouse=True, scope="module")
def _no_worker_is_left():
    yield
    verifier_processes.end_all()


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A random model that knows the words of the questions."""
    folder = tmp_path_factory.mktemp("model")
    words = ["What", "is", "and", "Answer", "the", "question.", "Right.", "Wrong.", "####", *NUMBERS]
    save_model(tiny_model(words, hidden=32), folder)
    return folder


@pytest.fixture
def questions(tmp_path):
    file = tmp_path / "sums.jsonl"
    rows = [{"question": f"What is {a} and {b}", "answer": a + b} for a in range(8) for b in range(5)]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return file


def command(questions, model, folder, *more):
    settings = {
        "rollout.tasks_per_step": 2, "rollout.group_size": 3, "rollout.max_new_tokens": 3, "validation.num_tasks": 2,
        "trainer.lr": 0.01, "env_settings.num_valid": 4, "env_settings.format_share": 0.1,
    }  # fmt: skip
    words = ["train", "--env", "rlvr", "--data", str(questions), "--model", str(model), "--format", "action"]
    words += ["--steps", "2", "--threads", "1", "--quiet", "--out", str(folder)]
    return [*words, *(word for name, value in settings.items() for word in ("--set", f"{name}={value}")), *more]


def episodes_of(run):
    return [t for file in sorted((run / "trajectories").iterdir()) for t in read_trajectories(file)]


@pytest.mark.parametrize("format", ["action", "tags"])
@pytest.mark.parametrize("file", ["gsm8k_train.jsonl", "math.jsonl"])
def test_the_expert_answers_everything_in_every_format(file, format, capsys):
    words = ["eval", "--env", "rlvr", "--policy", "expert", "--format", format]
    words += ["--set", f"env_settings.data={SAMPLES / file}", "--set", "env_settings.split=test"]
    assert main([*words, "--split", "train" if "train" in file else "test"]) == 0
    line = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("all "))
    assert line.split()[1:3] == ["100.0", "%"] and line.split()[-1] == "0"


def test_a_model_is_trained_on_questions_of_ones_own_with_a_reward_of_ones_own(questions, model, tmp_path, capsys):
    run = tmp_path / "run"
    assert main(command(questions, model, run, "--algo", "grpo", "--reward", f"{HERE}:brevity")) == 0
    assert capsys.readouterr().out.strip() == str(run)
    records = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [record["kind"] for record in records].count("train") == 2
    episodes = episodes_of(run)
    assert len(episodes) == 12 and {t.task.env for t in episodes} == {"rlvr"}
    for episode in episodes:
        said = episode.turns[-1].action.split()
        if episode.ended == "done":
            assert episode.reward == pytest.approx(episode.outcome.score - 0.1 * len(said))
            assert set(episode.outcome.components) == {"correct", "format"}
    config = read_config(run / "config.yaml", run_dir=str(run))
    assert config.reward == f"{HERE}:brevity" and config.parts == {"returns": "reward-sum"}


def test_a_reward_that_never_works_stops_the_run_in_one_line_and_leaves_nothing(questions, model, tmp_path, capsys):
    run = tmp_path / "run"
    assert main(command(questions, model, run, "--algo", "grpo", "--reward", f"{HERE}:misspelt")) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and f"reward {HERE}:misspelt on task '" in said
    assert "AttributeError: 'Turn' object has no attribute 'rewrad'" in said and not run.exists()


def test_a_reward_that_fails_later_costs_the_episode_it_fails_on(tmp_path):
    file = tmp_path / "own_test.jsonl"
    file.write_text("".join(json.dumps({"question": f"What is {n}", "answer": n}) + "\n" for n in range(9)))
    rollout = {"tries": 1, "concurrency": 1}
    judged = agentrl.evaluate(
        env="rlvr", env_settings={"data": str(file)}, policy="expert", reward=f"{HERE}:without_seven", rollout=rollout
    )
    assert judged.all.failures == 1 and judged.all.episodes == 8
    (failed,) = [t for t in judged.trajectories if t.failure]
    assert failed.failure == f"reward {HERE}:without_seven on task 'own_test-8': ZeroDivisionError: division by zero"


def test_a_reward_is_paid_in_any_world(capsys):
    for words in (["--env", "guess"], ["--env", "rlvr"]):
        assert main(["eval", *words, "--policy", "expert", "--episodes", "4", "--reward", f"{HERE}:each_turn"]) == 0
        assert "100.0 %" in capsys.readouterr().out
    judged = agentrl.evaluate(env="guess", policy="expert", episodes=4, reward=f"{HERE}:each_turn")
    for trajectory in judged.trajectories:
        assert trajectory.reward == trajectory.outcome.score + 0.25 * len(trajectory.turns)


@pytest.mark.parametrize(
    ("name", "error", "message"),
    [
        ("brevity", ConfigError, "reward is 'brevity'; write module:function"),
        (f"{HERE}:brevty", UnknownName, "has no 'brevty'"),
        ("no_such_module:f", UnknownName, "there is no module 'no_such_module'"),
        ("math:pi", ConfigError, "reward 'math:pi' is float; it must be a function of a trajectory"),
    ],
)
def test_a_reward_that_is_not_there_is_said_so(name, error, message):
    with pytest.raises(error, match=message):
        NamedReward(name)


def test_a_reward_that_is_no_number_is_said_so():
    with pytest.raises(ConfigError, match="endless on task .*: ValueError: it returned nan; it must be finite"):
        agentrl.evaluate(env="guess", policy="expert", episodes=1, reward=f"{HERE}:endless")


@pytest.mark.parametrize(
    ("algo", "parts", "returns"),
    [
        ("grpo", {}, {"returns": "reward-sum"}),
        ("ppo", {}, {}),
        ("reinforce-plus-plus", {}, {"returns": "turn-reward"}),
        ("grpo", {"returns": "reward-sum"}, {"returns": "reward-sum"}),
        ("sft", {}, None),
        ("eapo", {}, None),
        ("grpo", {"returns": "discounted"}, None),
    ],
)
def test_what_a_reward_pays_is_learned_from_or_refused(algo, parts, returns):
    config = RunConfig(algo=algo, parts=parts, reward=f"{HERE}:brevity")
    if returns is None:
        with pytest.raises(ConfigError, match="which is added to the turn rewards, and .* does not read them"):
            learning_from_reward(config)
    else:
        assert learning_from_reward(config).parts == returns
    assert learning_from_reward(RunConfig(algo=algo, parts=parts)).parts == parts
