"""An evaluation that was killed goes on: nothing finished is played again, and it ends as one that was left alone."""

import shutil

import pytest

import agentrl
from agentrl.api import evaluate_matrix, resume_evaluation
from agentrl.cli.main import main
from agentrl.errors import ConfigError, PolicyFailure, RunDirectoryError
from agentrl.eval.played import PLAYED
from agentrl.run_directory import read_json
from tests.core.counter_world import TASKS, Counter, Says
from tests.eval.cut_short import cut, episodes, results

MATRIX = {
    "models": ["random", "expert"],
    "worlds": [{"env": "guess", "settings": {"admissible": True}, "set": {"rollout.max_turns": 8}}],
    "memories": [{"memory": "window", "settings": {"size": 1}}],
    "episodes": 3,
}


class Counting(Says):
    """Fails on some tasks; remembers which episodes it played."""

    def __init__(self, failing=()):
        super().__init__()
        self.failing, self.played = failing, []

    async def generate(self, request):
        if request.view.turn == 0:
            self.played.append(request.view.task.id)
        if request.view.task.id in self.failing:
            raise PolicyFailure("fake: the server is gone")
        return await super().generate(request)


def counted(out, policy, **settings):
    return agentrl.evaluate(world=Counter, tasks=TASKS, policy=policy, out=out, **settings)


@pytest.mark.parametrize(("done", "torn"), [(0, b""), (2, b""), (2, b'{"schema": 1, "task'), (4, b"{"), (3, b"\0" * 9)])
def test_only_what_is_left_is_played_and_the_results_are_those_of_one_that_was_left_alone(tmp_path, done, torn):
    counted(tmp_path / "whole", Counting())
    shutil.copytree(tmp_path / "whole", tmp_path / "cut")
    cut(tmp_path / "cut", done, torn)
    policy = Counting()
    counted(tmp_path / "cut", policy, resume=True)
    assert policy.played == [task.id for task in TASKS if task.split == "valid"][done:]
    assert results(tmp_path / "cut") == results(tmp_path / "whole")
    assert episodes(tmp_path / "cut") == episodes(tmp_path / "whole")
    assert not (tmp_path / "cut" / PLAYED).exists() and (tmp_path / "cut" / "report.html").exists()


def test_seconds_before_the_kill_count(tmp_path):
    counted(tmp_path / "judged", Says())
    cut(tmp_path / "judged", 2)
    assert counted(tmp_path / "judged", Says(), resume=True).seconds > 1.5


def test_episodes_that_failed_are_played_again_even_of_one_that_came_to_its_end(tmp_path):
    settings = {"rollout": {"tries": 1}}
    first = counted(tmp_path / "judged", Counting(failing=("valid-2",)), **settings)
    assert first.all.failures == 1
    policy = Counting()
    second = counted(tmp_path / "judged", policy, resume=True, **settings)
    assert policy.played == ["valid-2"] and second.all.failures == 0 and second.all.episodes == 4
    assert read_json(tmp_path / "judged" / "results.json")["by_kind"]["all"]["failures"] == 0


def test_one_that_is_finished_plays_nothing_and_says_so(tmp_path, capsys):
    policy = Counting()
    first = counted(tmp_path / "judged", Says())
    again = counted(tmp_path / "judged", policy, resume=True)
    assert policy.played == [] and again.as_dict() == first.as_dict()
    assert main(["eval", "--env", "guess", "--policy", "expert", "--episodes", "2", "--out", str(tmp_path / "x")]) == 0
    table = capsys.readouterr().out
    assert main(["eval", "--resume", str(tmp_path / "x")]) == 0
    told = capsys.readouterr()
    assert told.out == table and "is finished: nothing is left to play" in told.err


def test_a_matrix_goes_on_whichever_cells_there_are(tmp_path):
    evaluate_matrix({**MATRIX, "memories": ["full", "window"]}, out=tmp_path / "whole")
    shutil.copytree(tmp_path / "whole", tmp_path / "cut")
    first, second, third, fourth = (cell["folder"] for cell in read_json(tmp_path / "cut" / "matrix.json")["cells"])
    cut(tmp_path / "cut" / second, 2, b'{"sch')
    cut(tmp_path / "cut" / third, 0)
    shutil.rmtree(tmp_path / "cut" / fourth)
    before = (tmp_path / "cut" / first / "results.json").stat().st_mtime_ns
    resume_evaluation(tmp_path / "cut")
    assert (tmp_path / "cut" / first / "results.json").stat().st_mtime_ns == before
    for name in (first, second, third, fourth):
        assert results(tmp_path / "cut" / name) == results(tmp_path / "whole" / name)
        assert episodes(tmp_path / "cut" / name) == episodes(tmp_path / "whole" / name)


def test_what_is_asked_for_otherwise_is_refused_and_named(tmp_path):
    evaluate_matrix(MATRIX, out=tmp_path / "judged")
    folder = tmp_path / "judged"
    with pytest.raises(ConfigError, match="episodes 3, now 2 in 2 cells"):
        evaluate_matrix({**MATRIX, "episodes": 2}, out=folder, resume=True)
    with pytest.raises(ConfigError, match="random-valid-sampled is not asked for any more"):
        evaluate_matrix({**MATRIX, "models": ["expert"]}, out=folder, resume=True)
    with pytest.raises(ConfigError, match="rollout.max_turns 8, now 9"):
        resume_evaluation(folder, changes={"rollout": {"max_turns": 9}})
    with pytest.raises(RunDirectoryError, match="continue it with agentrl eval --resume"):
        evaluate_matrix(MATRIX, out=folder)
    assert len(evaluate_matrix(MATRIX, out=folder, resume=True)) == 2


def test_how_fast_and_how_far_it_goes_may_change_and_is_kept(tmp_path):
    counted(tmp_path / "judged", Says(), rollout={"concurrency": 3})
    cut(tmp_path / "judged", 1)
    counted(tmp_path / "judged", Says(), rollout={"concurrency": 2}, api={"max_cost": 7}, resume=True)
    written = (tmp_path / "judged" / "config.yaml").read_text()
    assert "concurrency: 2" in written and "max_cost: 7.0" in written


def test_tasks_that_have_changed_since_are_refused(tmp_path):
    counted(tmp_path / "judged", Says())
    with pytest.raises(ConfigError, match="was begun with other tasks"):
        agentrl.evaluate(world=Counter, tasks=TASKS[:-1], policy=Says(), out=tmp_path / "judged", resume=True)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda folder: None, "there is no folder"),
        (lambda folder: folder.mkdir(), "is no evaluation"),
        (lambda folder: agentrl.evaluate(world=Counter, tasks=TASKS, policy=Says(), out=folder), "begun in Python"),
    ],
)
def test_what_cannot_go_on_says_why(tmp_path, capsys, make, message):
    make(tmp_path / "judged")
    assert main(["eval", "--resume", str(tmp_path / "judged")]) == 2
    assert message in capsys.readouterr().err


def test_an_interrupted_evaluation_says_how_to_go_on_and_leaves_nothing_where_nothing_was_played(tmp_path):
    class Interrupts(Counting):
        async def generate(self, request):
            if len(self.played) == 2:
                raise KeyboardInterrupt
            return await super().generate(request)

    with pytest.raises(KeyboardInterrupt, match="continue with: agentrl eval --resume .*judged"):
        counted(tmp_path / "judged", Interrupts(), rollout={"concurrency": 1})
    policy = Counting()
    assert counted(tmp_path / "judged", policy, rollout={"concurrency": 1}, resume=True).success == 1.0
    assert policy.played[-1] == "valid-4" and len(policy.played) < 4

    class AtOnce(Says):
        async def generate(self, request):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        counted(tmp_path / "untouched", AtOnce())
    assert not (tmp_path / "untouched").exists()


def test_a_dry_run_tells_what_is_left(tmp_path, capsys):
    evaluate_matrix(MATRIX, out=tmp_path / "judged")
    cut(tmp_path / "judged" / "expert-valid-sampled", 1)
    assert main(["eval", "--resume", str(tmp_path / "judged"), "--dry-run"]) == 0
    out = capsys.readouterr().out
    assert "expert-valid-sampled  2 of 3 episodes are left" in out and "2 of 6 episodes are left" in out
