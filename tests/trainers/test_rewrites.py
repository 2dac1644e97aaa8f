"""Rewrites: groups become other groups between playing and learning, by demonstrations and by hints."""

import asyncio
import json
import random
import socket
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from agentrl.config import RolloutConfig, resolve
from agentrl.errors import ConfigError
from agentrl.policies.scripted import Scripted
from agentrl.records import read_trajectories
from agentrl.registry import load
from agentrl.run_directory import RunDirectory
from agentrl.runner import Job, Runner
from agentrl.trainers.algorithm import Part
from agentrl.trainers.algorithms.grpo import GRPO
from agentrl.trainers.algorithms.hpt import HPT, unsolved
from agentrl.trainers.algorithms.scaf_grpo import SCAF_GRPO
from agentrl.trainers.composition import Composition, compose
from agentrl.trainers.loop import train
from agentrl.trainers.parts.rewrites import ladder, none_solved
from agentrl.trainers.ranks import Ranks
from agentrl.trainers.rehearsal import Rehearsal, hints_of_solution, refuse_without_help
from agentrl.types import Outcome, Trajectory, View
from tests.trainers.processes import leave_group
from tests.trainers.toy import toy_settings

WORLD = load("env", "guess")
CONFIG = WORLD.Config()
TASKS = WORLD.tasks("train", CONFIG)


def obedient(view: View) -> str:
    """Does what a hint of the last tier says; otherwise guesses a number that is never right."""
    _, said, actions = view.instructions.partition("from the beginning: ")
    return actions.rstrip(".").split("; ")[view.turn] if said and "What to do" in view.instructions else "ask 0"


def rehearsal_of(policy: Any, step: int = 5, **rollout: Any) -> Rehearsal:
    settings = RolloutConfig(max_turns=2, **rollout)
    runner = Runner(WORLD, policy, format="action", rollout=settings, config=CONFIG, seed=3)
    return Rehearsal(WORLD, runner, Ranks.current(), num_steps=10, seed=3, step=step)


def rewritten(composition: Composition, step: int = 5, num_tasks: int = 3) -> tuple[list[Trajectory], Rehearsal]:
    """Groups of four that the obedient policy plays without hints, and what the rewrites make of them."""
    rehearsal = rehearsal_of(Scripted(obedient), step)

    async def both() -> list[Trajectory]:
        jobs = [Job(task, f"{step}/{i}", k, step) for i, task in enumerate(TASKS[:num_tasks]) for k in range(4)]
        played = await rehearsal.play(jobs)
        left, new, _ = await rehearsal.rewritten(composition, played, step)
        assert [t for t in left if not any(t is p for p in played)] == new
        return left

    return asyncio.run(both()), rehearsal


def test_an_unsolved_group_gets_one_episode_that_the_least_hint_helped_to_succeed() -> None:
    left, rehearsal = rewritten(compose(SCAF_GRPO))
    assert [t.group for t in left] == [f"5/{i}" for i in range(3) for _ in range(4)]
    for i in range(3):
        group = left[4 * i : 4 * i + 4]
        (helped,) = [t for t in group if t.outcome.success]
        number = WORLD.solution(TASKS[i])[0]
        assert helped.hint == f"Hint: What to do, from the beginning: {number}."
        assert helped.rollout not in {t.rollout for t in group if t is not helped}
        assert not any(t.hint for t in group if t is not helped)
    assert rehearsal.counts == {
        "scaf/unsolved_groups": 3.0,
        "scaf/hinted_episodes": 9.0,
        "scaf/helped_groups": 3.0,
        "scaf/helped_by_knowledge": 0.0,
        "scaf/helped_by_planning": 0.0,
        "scaf/helped_by_solution": 3.0,
        "scaf/hint_level": 3.0,
    }


def test_which_failed_rollout_is_replaced_is_the_same_again_and_differs_by_group_and_step() -> None:
    def places(step: int) -> list[int]:
        left, _ = rewritten(compose(SCAF_GRPO), step, num_tasks=6)
        return [k for i in range(6) for k in range(4) if left[4 * i + k].outcome.success]

    assert places(5) == places(5)
    assert len(set(places(5))) > 1 and places(5) != places(6)
    first, _ = rewritten(compose(SCAF_GRPO, settings={"scaf-grpo": {"replace": "first"}}))
    assert [t.outcome.success for t in first] == [True, False, False, False] * 3


def test_without_a_hint_that_helps_and_in_the_exempt_steps_groups_stay_as_they_were() -> None:
    settings = {"scaf-grpo": {"tiers": ["knowledge", "planning"]}}
    left, rehearsal = rewritten(compose(SCAF_GRPO, settings=settings))
    assert not any(t.hint for t in left) and rehearsal.counts["scaf/hinted_episodes"] == 6
    early, rehearsal = rewritten(compose(SCAF_GRPO), step=1)
    assert not any(t.hint for t in early) and rehearsal.counts["scaf/unsolved_groups"] == 0
    from_start, _ = rewritten(compose(SCAF_GRPO, settings={"scaf-grpo": {"exempt": 0.0}}), step=0)
    assert sum(bool(t.hint) for t in from_start) == 3


def test_hints_go_from_kinds_of_action_to_the_plan_to_the_actions_in_cumulative_parts() -> None:
    actions = [
        "go to fridge 1",
        "open fridge 1",
        "take apple 2 from fridge 1",
        "go to table 3",
        "put apple 2 on table 3",
    ]
    tiers = hints_of_solution(actions)
    assert tiers["knowledge"] == ["go", "open", "take", "put"]
    assert tiers["planning"][2] == "take apple from fridge"
    hints = ladder(tiers, ("knowledge", "planning", "solution"), 4)
    assert [(hint.tier, hint.part) for hint in hints] == [
        (tier, part) for tier in ("knowledge", "planning", "solution") for part in (1, 2, 3, 4)
    ]
    assert hints[0].text == "Hint: Kinds of action that help here: go."
    assert hints[-1].text.endswith("; ".join(actions) + ".")
    assert [hint.part for hint in ladder({"solution": ["a"]}, ("solution",), 4)] == [1]
    assert ladder({"trick": ["Look up."]}, ("trick",), 1)[0].text == "Hint: Look up."
    assert hints_of_solution([]) == {}
    assert hints_of_solution(["13"]) == {"knowledge": [], "planning": [], "solution": ["13"]}  # an answer is no kind


def test_a_worlds_own_hints_stand_before_those_made_of_its_solution() -> None:
    class Helpful:
        @staticmethod
        def hints(task: Any) -> dict[str, list[str]]:
            return {"knowledge": ["halve"]}

    rehearsal = replace(rehearsal_of(Scripted(obedient)), world=Helpful())
    assert rehearsal.hints(TASKS[0]) == {"knowledge": ["halve"]}
    refuse_without_help(compose(SCAF_GRPO), Helpful(), TASKS)
    with pytest.raises(ConfigError, match="demonstrations"):
        refuse_without_help(compose(HPT), Helpful(), TASKS)


def test_an_unsolved_group_becomes_its_demonstration_and_a_solved_one_stays() -> None:
    def half(view: View) -> str:
        return WORLD.solution(view.task)[0] if view.task == TASKS[1] else "ask 0"

    rehearsal = rehearsal_of(Scripted(half))

    async def both() -> tuple[list[Trajectory], list[Trajectory]]:
        played = await rehearsal.play([Job(t, f"5/{i}", k, 5) for i, t in enumerate(TASKS[:3]) for k in range(4)])
        left, new, _ = await rehearsal.rewritten(compose(HPT), played, 5)
        return left, new

    left, new = asyncio.run(both())
    assert [(t.group, t.source) for t in left] == [
        ("5/0", "demonstration"),
        *[("5/1", "logged")] * 4,
        ("5/2", "demonstration"),
    ]
    assert new == [left[0], left[-1]] and all(t.outcome.success for t in left)
    assert rehearsal.counts == {"hpt/demonstrated_share": 2 / 3, "hpt/missing_demonstrations": 0.0}


def test_a_group_without_a_demonstration_that_works_stays_with_reinforcement() -> None:
    class Puzzling:
        @staticmethod
        def solution(task: Any) -> list[str] | None:
            return None if task == TASKS[0] else ["give up"]

    rehearsal = replace(rehearsal_of(Scripted(obedient)), world=Puzzling())

    async def both() -> list[Trajectory]:
        played = await rehearsal.play([Job(t, f"5/{i}", k, 5) for i, t in enumerate(TASKS[:2]) for k in range(2)])
        return (await rehearsal.rewritten(compose(HPT), played, 5))[0]

    assert [t.source for t in asyncio.run(both())] == ["logged"] * 4
    assert rehearsal.counts["hpt/missing_demonstrations"] == 2


def test_what_is_unsolved_is_counted_with_slack_and_failures_of_infrastructure_are_no_rollouts() -> None:
    assert unsolved(3, 10, 0.3) and not unsolved(4, 10, 0.3) and unsolved(0, 8, 0.0) and not unsolved(1, 8, 0.0)
    assert not unsolved(0, 0, 0.0)
    lost = Trajectory(TASKS[0], "g", 0, [], None, Outcome(False, 0.0), "world_failure")
    failed = Trajectory(TASKS[0], "g", 1, [], None, Outcome(False, 0.0), "done")
    assert not none_solved([lost]) and none_solved([lost, failed])


@pytest.mark.parametrize("algo", ["hpt", "scaf-grpo"])
def test_a_run_learns_from_what_rewrites_bring_and_keeps_it(algo: str, tmp_path: Path) -> None:
    changes: dict[str, Any] = {
        "settings": {"scaf-grpo": {"exempt": 0.0, "attempts": 2}} if algo == "scaf-grpo" else {},
        "env_settings": {"highest": 3, "admissible": True} if algo == "scaf-grpo" else {},
    }
    rollout = {"constrain": "admissible", "max_turns": 1} if algo == "scaf-grpo" else {}
    settings = toy_settings(tmp_path, algo=algo, parts={}, rollout=rollout)
    settings |= changes | {"parts": {}, "validation": {"num_tasks": 0}}
    settings["trainer"] = settings["trainer"] | {"steps": 2}
    config = resolve(settings, {"run_dir": str(tmp_path / "run")})
    with RunDirectory.create(config) as run:
        train(config, run_dir=run)
        records = [json.loads(line) for line in run.metrics_file.read_text().splitlines()]
    learned = [t for file in sorted((tmp_path / "run" / "trajectories").iterdir()) for t in read_trajectories(file)]
    if algo == "hpt":
        assert all(r["hpt/demonstrated_share"] > 0 and r["loss/hpt-hybrid-2"] > 0 for r in records)
        assert any(t.source == "demonstration" for t in learned)
        assert all(r["success"] == 0 for r in records)  # demonstrations are no successes of the policy
    else:
        assert sum(r["scaf/hinted_episodes"] for r in records) > 0
        helped = [t for t in learned if t.hint]
        assert len(helped) == sum(r["scaf/helped_groups"] for r in records)


def _left_of_both() -> list[list[tuple[str, int, str, str]]]:
    """What both algorithms leave of unsolved groups, and what stands beside them to be compared with, in words."""
    compositions = [compose(SCAF_GRPO), compose(HPT), compose(GRPO, {"advantage": "above-greedy"})]
    lefts = [rewritten(composition)[0] for composition in compositions]
    return [[(t.group, t.rollout, t.hint, "greedy" if t.greedy else t.source) for t in left] for left in lefts]


def _one_of_two(rank: int, port: int, folder: str) -> None:
    torch.distributed.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=2)
    (Path(folder) / f"{rank}.json").write_text(json.dumps(_left_of_both()))
    leave_group()


def test_two_processes_share_the_play_and_leave_the_same_groups(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    torch.multiprocessing.spawn(_one_of_two, (port, str(tmp_path)), nprocs=2)  # type: ignore[no-untyped-call]
    alone = json.loads(json.dumps(_left_of_both()))
    assert [json.loads((tmp_path / f"{rank}.json").read_text()) for rank in (0, 1)] == [alone, alone]


def test_contradictions_are_refused_with_their_reason() -> None:
    refused: list[tuple[Any, dict[str, Any], str]] = [
        (HPT, {"modifiers": ["engine-correction"]}, "no log-probs of a sampling engine"),
        (HPT, {"surrogate": "ppo-clip"}, "no surrogate learns from the demonstrations"),
        (HPT, {"rewrites": []}, "no rewrite brings any"),
        (load("algorithm", "sft"), {"rewrites": ["scaffold"]}, "learns from demonstrations alone"),
        (load("algorithm", "sft"), {"gates": ["signal"]}, "learns from demonstrations alone"),
        (load("algorithm", "gtpo"), {"rewrites": ["scaffold"]}, "token by token"),
    ]
    for algorithm, parts, reason in refused:
        with pytest.raises(ConfigError, match=reason):
            compose(algorithm, parts)


def test_a_rewrite_of_ones_own_may_drop_and_reorder() -> None:
    async def shuffled(groups: Any, rehearsal: Any, config: None, state: None) -> list[list[Trajectory]]:
        left = [group[:2] for group in groups]
        random.Random(0).shuffle(left)
        return left

    left, _ = rewritten(compose(GRPO, {"rewrites": [Part(name="own", kind="rewrite", bind=shuffled)]}))
    assert len(left) == 6 and {t.group for t in left} == {"5/0", "5/1", "5/2"}
