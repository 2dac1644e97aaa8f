"""One's own Env class is trained in with one's own reward, from end to end: run directory, resume, judgement."""

import json
from pathlib import Path
from typing import Any

import pytest

import agentrl
from agentrl import Observation, Outcome, StepResult, Task, Trajectory
from agentrl.errors import AgentRLError, ConfigError, RunDirectoryError
from agentrl.models.save import save_model
from agentrl.records import read_trajectories
from tests.models import tiny_model
from tests.trainers.test_resume import StopAfter

WORDS = (
    "Climb",
    "the",
    "stairs.",
    "Say",
    "up",
    "or",
    "down.",
    "steps",
    "to",
    "go.",
    "0",
    "1",
    "2",
    "3",
    "Up",
    "down?",
    "down",
)


class Stairs:
    """Climb as many steps as the task has: an Env whose methods are coroutines."""

    instructions = "Climb the stairs. Say up or down."

    async def reset(self, task: Task) -> Observation:
        self.left = task.seed
        return Observation(f"{self.left} steps to go.", admissible=("up", "down"))

    async def step(self, action: str) -> StepResult:
        self.left += {"up": -1, "down": 1}[action]
        done = self.left == 0
        seen = Observation(f"{self.left} steps to go.", admissible=("up", "down"))
        return StepResult(seen, reward=float(done), terminated=done)

    def outcome(self) -> Outcome:
        return Outcome(success=self.left == 0, score=float(self.left == 0))

    async def close(self) -> None:
        pass


class BlockingStairs:
    """The same stairs as an engine that blocks: it lives in a worker process."""

    instructions = Stairs.instructions

    def reset(self, task: Task) -> Observation:
        self.left = task.seed
        return Observation(f"{self.left} steps to go.", admissible=("up", "down"))

    def step(self, action: str) -> StepResult:
        self.left += {"up": -1, "down": 1}[action]
        done = self.left == 0
        seen = Observation(f"{self.left} steps to go.", admissible=("up", "down"))
        return StepResult(seen, reward=float(done), terminated=done)

    def outcome(self) -> Outcome:
        return Outcome(success=self.left == 0, score=float(self.left == 0))

    def close(self) -> None:
        pass


TASKS = [Task("stairs", f"{split}-{n}", split, n) for split in ("train", "valid") for n in (1, 2)]


def brevity(trajectory: Trajectory) -> float:
    """A little less for every turn."""
    return -0.125 * len(trajectory.turns)


async def by_turn(trajectory: Trajectory) -> list[float]:
    return [0.25 if turn.action == "up" else 0.0 for turn in trajectory.turns]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random model's folder, made to say one of the admissible actions."""
    folder = tmp_path_factory.mktemp("models") / "random"
    save_model(tiny_model(WORDS, hidden=32), folder, {"format": "action", "rollout": {"constrain": "admissible"}})
    return folder


def settings(folder: Path, model: Path, **changes: Any) -> dict[str, Any]:
    """Four steps of GRPO in which what the reward function pays counts."""
    rollout = {
        "tasks_per_step": 2,
        "group_size": 4,
        "max_turns": 3,
        "deterministic": True,
        "workers": 1,
        "concurrency": 4,
    }
    return {
        "tasks": TASKS,
        "algo": "grpo",
        "model": str(model),
        "steps": 4,
        "lr": 1e-2,
        "parts": {"returns": "reward-sum"},
        "rollout": rollout,
        "trainer": {"checkpoint_every": 1},
        "validation": {"num_tasks": 2, "greedy": False},
        "threads": 1,
        "run_dir": str(folder / "run"),
    } | changes


@pytest.mark.parametrize("world", [Stairs, BlockingStairs])
def test_an_env_class_is_trained_in_with_a_reward_function(world: type, model: Path, tmp_path: Path) -> None:
    result = agentrl.train(world=world, reward=brevity, **settings(tmp_path, model))
    assert result.steps == 4 and result.before["all"].episodes == result.after["all"].episodes == 2
    records = [json.loads(line) for line in (result.run_dir / "metrics.jsonl").read_text().splitlines()]
    train = [record for record in records if record["kind"] == "train"]
    assert len(train) == 4 and any(record["grad_norm"] > 0 for record in train)
    episodes = [t for file in sorted((result.run_dir / "trajectories").iterdir()) for t in read_trajectories(file)]
    assert len(episodes) == 32 and {t.task.split for t in episodes} == {"train"}
    for episode in episodes:
        paid = [turn.reward for turn in episode.turns]
        assert sum(paid) == episode.outcome.score + brevity(episode), "added to what the world pays"
        assert paid[-1] == sum(paid) and {turn.action for turn in episode.turns} <= {"up", "down"}
    assert result.checkpoint is not None
    trained = next(result.run_dir.glob("checkpoints/step-000004/model.safetensors"))
    assert trained.read_bytes() != (model / "model.safetensors").read_bytes()
    judged = agentrl.evaluate(world=world, tasks=TASKS, policy=str(result.checkpoint), episodes=2)
    assert judged.all.episodes == 2 and judged.all.failures == 0


def test_what_the_reward_function_pays_is_learned(model: Path, tmp_path: Path) -> None:
    changes: dict[str, Any] = {"steps": 12, "lr": 3e-2, "validation": {"num_tasks": 0}}
    result = agentrl.train(world=Stairs, reward=by_turn, **settings(tmp_path, model, **changes))

    def ups(step: int) -> float:
        turns = [
            turn
            for t in read_trajectories(result.run_dir / "trajectories" / f"step-{step:06d}.jsonl.gz")
            for turn in t.turns
        ]
        return sum(turn.action == "up" for turn in turns) / len(turns)

    assert ups(12) > 0.9 > ups(1)


def test_a_run_in_ones_own_world_goes_on_with_it(model: Path, tmp_path: Path) -> None:
    own: dict[str, Any] = {"world": Stairs, "reward": by_turn}
    straight = agentrl.train(**own, **settings(tmp_path, model, run_dir=str(tmp_path / "straight")))
    asked = settings(tmp_path, model)
    with pytest.raises(KeyboardInterrupt, match="continue with"):
        agentrl.train(**own, **asked, display=StopAfter(2))
    run = Path(asked["run_dir"])
    with pytest.raises(RunDirectoryError, match="a world of one's own has to be given again, as agentrl.train"):
        agentrl.train(resume=run)
    resumed = agentrl.train(**own, tasks=TASKS, resume=run)
    assert resumed.steps == 4 and resumed.checkpoint is not None and straight.checkpoint is not None
    weights = [(r.checkpoint / "model.safetensors").read_bytes() for r in (resumed, straight) if r.checkpoint]
    assert resumed.checkpoint.name == straight.checkpoint.name and weights[0] == weights[1]


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"tasks": None}, ConfigError, "class Stairs has no tasks of its own; pass tasks="),
        ({"tasks": []}, ConfigError, "tasks must be agentrl.Task values, at least one"),
        ({"tasks": ["climb"]}, ConfigError, "tasks must be agentrl.Task values, at least one; there is 'climb'"),
        ({"tasks": TASKS[2:]}, ConfigError, "train_split is 'train'; splits: valid"),
        ({"world": int}, ConfigError, "class int has no method 'reset'"),
        ({"world": None}, ConfigError, "tasks are given without a world"),
        ({"reward": lambda trajectory: [0.0] * 9}, ConfigError, "returned 9 numbers for"),
    ],
)
def test_a_world_or_reward_that_cannot_be_is_one_line_and_leaves_nothing(
    changes: dict[str, Any], error: type[AgentRLError], message: str, model: Path, tmp_path: Path
) -> None:
    with pytest.raises(error) as raised:
        agentrl.train(**({"world": Stairs} | settings(tmp_path, model) | changes))
    assert message in str(raised.value) and "\n" not in str(raised.value)
    assert not list(tmp_path.iterdir())


def test_a_reward_function_that_fails_is_told_on_the_episode(model: Path, tmp_path: Path) -> None:
    changes: dict[str, Any] = {"steps": 1, "validation": {"num_tasks": 0}}
    changes["rollout"] = settings(tmp_path, model)["rollout"] | {"tries": 1}
    result = agentrl.train(world=Stairs, reward=lambda trajectory: 1 / 0, **settings(tmp_path, model, **changes))
    episodes = read_trajectories(result.run_dir / "trajectories" / "step-000001.jsonl.gz")
    assert {t.ended for t in episodes} == {"world_failure"}
    assert episodes[0].failure == "reward: ZeroDivisionError: division by zero"
