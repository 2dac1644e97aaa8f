"""Models x worlds x memories x formats: which cells there are, with which settings, and what is refused."""

import io

import pytest

from agentrl.api import evaluate_matrix
from agentrl.cli.eval_tables import cells_table
from agentrl.cli.main import main
from agentrl.display import Display
from agentrl.errors import AgentRLError, ConfigError
from agentrl.eval.cells import Cell, changed_settings, named, read_matrix
from agentrl.eval.estimate import estimate
from agentrl.eval.evaluate import plan_of
from agentrl.eval.matrix import cells_of, matrix_of, nested, that_can_be
from agentrl.eval.seats import Seats
from agentrl.run_directory import read_json
from agentrl.settings import from_mapping
from tests.core.counter_world import Counter, Says

GUESS = {"env": "guess", "settings": {"admissible": True}}


def cells(**settings):
    return cells_of(matrix_of({"models": ["expert"], "worlds": [GUESS], **settings}))


def test_every_model_plays_in_every_world_with_every_memory_and_format_on_the_same_tasks(tmp_path):
    matrix = {
        "models": ["expert", {"policy": "random", "name": "blind"}],
        "worlds": [GUESS, {"env": "chain", "repeats": 2}],
        "memories": ["full", {"memory": "window", "settings": {"size": 2}, "name": "last two"}],
        "formats": ["tags"],
        "episodes": 1,
        "skip": [{"model": "blind", "memory": "full"}],
    }
    results = evaluate_matrix(matrix, out=tmp_path / "out")
    assert [(r.policy, r.env, r.memory) for r in results] == [
        (model, env, memory)
        for model in ("expert", "blind")
        for env in ("guess", "chain")
        for memory in ("full", "last two")
        if (model, memory) != ("blind", "full")
    ]
    assert len({r.panel for r in results if r.env == "guess"}) == 1
    assert [r.all.episodes for r in results] == [1, 1, 2, 2, 1, 2]
    listed = read_json(tmp_path / "out" / "matrix.json")["cells"]
    assert [cell["folder"] for cell in listed] == [r.run_dir.name for r in results] == [r.name for r in results]
    assert listed[1] | {"asked": 0, "settings": 0, "name": 0, "folder": 0} == {
        "policy": "expert",
        "env": "guess",
        "memory": "last two",
        "format": "tags",
        "split": "valid",
        "decoding": "sampled",
        "asked": 0,
        "settings": 0,
        "name": 0,
        "folder": 0,
    }
    assert [cell.name for cell in read_matrix(tmp_path / "out")] == [r.name for r in results]
    assert len(read_json(tmp_path / "out" / "summary.json")["results"]) == 6


def test_settings_of_all_cells_are_before_a_worlds_and_these_before_a_models():
    (cell,) = cells(
        models=[{"policy": "expert", "temperature": 0.3, "api": {"max_cost": 2}, "set": {"rollout.max_new_tokens": 9}}],
        worlds=[{**GUESS, "set": {"rollout": {"max_turns": 7, "max_new_tokens": 8}}}],
        set={"rollout": {"max_turns": 6, "concurrency": 5}, "seed": 4},
    )
    rollout = cell.config.rollout
    assert (rollout.max_turns, rollout.max_new_tokens, rollout.concurrency, rollout.temperature) == (7, 9, 5, 0.3)
    assert cell.config.seed == 4 and cell.config.api.max_cost == 2 and cell.config.env_settings == {"admissible": True}
    assert nested({"rollout.max_turns": 3, "rollout": {"top-k": 1}}) == {"rollout": {"max_turns": 3, "top_k": 1}}


def test_decodings_are_those_of_the_file_unless_a_model_has_its_own():
    found = cells(models=["expert", {"policy": "random", "greedy": True}], both=True)
    assert [(c.policy, c.greedy) for c in found] == [("expert", False), ("expert", True), ("random", True)]


def test_splits_may_be_a_list_or_words_with_commas_and_cells_may_be_skipped():
    skip = [{"split": "train", "decoding": "greedy"}]
    found = cells(worlds=[{**GUESS, "split": "train, valid"}], both=True, skip=skip)
    assert [(c.split, c.decoding) for c in found] == [("train", "sampled"), ("valid", "sampled"), ("valid", "greedy")]
    with pytest.raises(ConfigError, match="every cell is skipped"):
        cells(skip=[{"model": "expert"}])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"model": ["expert"]}, "unknown setting 'model'; did you mean 'models'"),
        ({"models": [{"polcy": "expert"}]}, r"unknown setting 'models\[0\].polcy'; did you mean 'models\[0\].policy'"),
        ({"worlds": ["guess", {"envs": "chain"}]}, r"unknown setting 'worlds\[1\].envs'"),
        ({"models": []}, "models is empty"),
        ({"models": ["expert", "expert"]}, "models has 'expert' twice"),
        ({"models": [{"policy": "expert", "api": {"max_cots": 1}}]}, "expert in guess: unknown setting 'api.max_cots'"),
        ({"set": {"rollout": {"max_tuns": 1}}}, "did you mean 'rollout.max_turns'"),
        ({"worlds": [{"env": "guess", "set": {"api": {}}}]}, "set.api belongs into the model's entry"),
        ({"models": [{"policy": "expert", "set": {"env": "chain"}}]}, "set.env belongs into an entry of its own"),
        ({"memories": ["windw"]}, "unknown memory 'windw'"),
        ({"worlds": [{"env": "guess", "split": "vald"}]}, "no split 'vald'"),
        ({"memories": [{"memory": "window", "settings": {"sise": 1}}]}, "sise"),
        ({"repeats": 0}, "repeats is 0"),
        ({"models": "nobody"}, "unknown policy 'nobody'"),
    ],
)
def test_what_cannot_be_is_one_line_and_nothing_is_played(settings, message, tmp_path):
    with pytest.raises(AgentRLError, match=message) as raised:
        evaluate_matrix({"models": ["expert"], "worlds": [GUESS], **settings}, out=tmp_path / "out")
    assert "\n" not in str(raised.value) and not (tmp_path / "out").exists()


def test_cells_whose_parts_do_not_go_together_are_left_out_with_the_reason():
    constrained = {"rollout": {"constrain": "admissible"}}
    found = [
        Cell(config=cell.config, policy=None if cell.policy == "random" else cell.policy)  # None: the model
        for cell in cells(models=["random", "expert"], formats=["action", "report"], set=constrained)
    ]
    kept, left_out = that_can_be(found)
    assert len(kept) == 3
    (why,) = left_out.values()
    assert "replies in the format report are not one of a few texts" in why


def test_a_policy_that_cells_share_is_loaded_once_and_closed_after_the_last():
    class Closes(Says):
        closed = 0

        async def close(self):
            self.closed += 1

    policy = Closes()
    some = [Cell(config=c.config, policy=policy, world=Counter) for c in cells(memories=["full", "window"])]
    some += [Cell(config=c.config, policy="expert") for c in cells(memories=["full", "window"])]
    seats = Seats(some, [Counter] * 4, [1] * 4)
    assert seats.take(0) is seats.take(1) and seats.take(2) is not seats.take(3)
    seats.drop()
    assert policy.closed == 1


def test_one_cell_is_an_ordinary_evaluation(tmp_path):
    evaluate_matrix({"models": ["expert"], "worlds": [GUESS], "episodes": 2}, out=tmp_path / "out")
    assert (tmp_path / "out" / "results.json").exists() and not (tmp_path / "out" / "matrix.json").exists()


def test_names_say_what_differs_and_are_never_the_same():
    (cell,) = cells()
    assert [c.name for c in named([cell, cell])] == ["valid-sampled", "valid-sampled-2"]
    other = Cell(config=cell.config, policy="api:a/b", split="valid")
    assert [c.name for c in named([cell, other])] == ["expert-valid-sampled", "api-a-b-valid-sampled"]


def test_the_settings_in_matrix_json_make_the_configuration_again():
    (cell,) = cells(set={"rollout": {"max_turns": 6, "top_p": 0.5}, "api": {"leave_out": ["seed"]}})
    assert from_mapping(type(cell.config), changed_settings(cell.config)) == cell.config


def test_flags_make_a_matrix_too_and_show_a_line_a_cell(capsys):
    words = ["eval", "--env", "guess", "--env", "chain", "--policy", "expert,random", "--memory", "full,window"]
    words += ["--episodes", "2", "--set", "env_settings.admissible=true"]
    assert main([*words, "--dry-run"]) == 0
    assert capsys.readouterr().out.count("2 tasks of valid, 1 a task, sampled") == 8
    assert main(["eval", "--matrix", "x.yaml", "--env", "guess"]) == 2
    assert "--env stands in the file of --matrix" in capsys.readouterr().err
    assert main([*words, "--quiet"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == "policy env memory success 95 % interval episodes score turns failures".split()
    assert lines[1].split()[:4] == ["expert", "guess", "full", "100.0"] and len(lines) == 9


def test_progress_in_a_log_is_a_line_a_cell():
    log = io.StringIO()
    matrix = {"models": ["expert", "random"], "worlds": [GUESS], "episodes": 2}
    results = evaluate_matrix(matrix, display=Display(log))
    lines = log.getvalue().splitlines()
    assert lines[0] == "2 cells, 4 episodes"
    assert lines[1].startswith("1/2  expert-valid-sampled  success 100.0 % [34.2, 100.0] of 2")
    assert cells_table(results)[0].startswith("policy  success")


def test_an_estimate_bounds_what_was_asked_for_and_grows_with_what_the_memory_shows():
    bounds = {}
    for memory in ("full", "workspace"):
        (cell,) = cells(models=["api:gpt-4o-mini"], memories=[memory], formats=["report"], episodes=3, repeats=2)
        bounds[memory] = estimate(plan_of(cell))
    full = bounds["full"]
    assert (full.episodes, full.calls, full.output_tokens) == (6, 6 * 50, 6 * 50 * 256)
    assert full.input_tokens > 5 * bounds["workspace"].input_tokens and full.cost > bounds["workspace"].cost
    (cell,) = cells(models=[{"policy": "api:nobody-knows", "api": {"requests_per_minute": 60}}], episodes=1)
    unknown = estimate(plan_of(cell))
    assert unknown.cost is None and unknown.seconds >= unknown.calls
