"""Every way of ending, and what a turn holds."""

import asyncio
import hashlib

import pytest

from agentrl.config import RolloutConfig
from agentrl.episode import UNREADABLE
from agentrl.errors import ConfigError, DataError, PolicyFailure
from agentrl.policies.scripted import Expert, RandomAdmissible, Scripted
from agentrl.records import trajectory_to_json
from agentrl.runner import Job, Runner
from agentrl.seeds import seed_of
from agentrl.types import Completion, Outcome, Reply, View
from tests.core import worlds
from tests.core.fakes import IdPolicy, WordRenderer

WORLD = worlds.world(worlds.InLoop)


def left(view):
    return "left"


def jobs(tasks=None, rollouts=1, **kwargs):
    tasks = worlds.tasks(num=1) if tasks is None else tasks
    return [Job(task, task.id, number, **kwargs) for task in tasks for number in range(rollouts)]


def play(policy=None, tasks=None, world=WORLD, rollouts=1, job=(), config=None, **settings):
    """Trajectories of a runner with `rollout` settings; bare actions."""
    keywords = {k: settings.pop(k) for k in ("renderer", "reward", "memory", "format", "seed") if k in settings}
    keywords.setdefault("format", "action")
    runner = Runner(world, policy or Scripted(left), config=config, rollout=RolloutConfig(**settings), **keywords)
    with runner:
        return runner.play(jobs(tasks, rollouts, **dict(job)))


def play_ids(says=left, finish="stop", **settings):
    renderer = WordRenderer()
    policy = IdPolicy(renderer, says, finish)
    return play(policy, renderer=renderer, **settings)[0], policy


def test_a_world_that_terminates_is_done():
    (trajectory,) = play()
    assert (trajectory.ended, trajectory.outcome) == ("done", Outcome(True, 1.0))
    assert [turn.action for turn in trajectory.turns] == ["left"] * 3
    assert [turn.reward for turn in trajectory.turns] == [0, 0, 1.0]
    assert trajectory.final_observation.text == "left is step 3."
    assert trajectory.turns[1].observation.text == "left is step 1."
    assert trajectory.failure is None and trajectory.tries == 1


def test_patience_ends_an_episode_after_that_many_refused_actions_in_a_row():
    replies = iter(["bad", "left", "bad", "bad", "left"])
    (trajectory,) = play(Scripted(lambda view: next(replies)), patience=2)
    assert trajectory.ended == "gave_up"
    assert [turn.valid for turn in trajectory.turns] == [False, True, False, False]
    assert trajectory.outcome.score == pytest.approx(1 / 3)


def test_unreadable_replies_count_for_patience():
    (trajectory,) = play(Scripted(lambda view: ""), patience=2)
    assert trajectory.ended == "gave_up" and len(trajectory.turns) == 2


class GivesUp:
    """A format in which a reply can say that it gives up."""

    def messages(self, view):
        return [{"role": "user", "content": view.observation.text}]

    def parse(self, text, view):
        return Reply("", gave_up=text == "stop")

    def candidates(self, view):
        return None


def test_a_reply_that_gives_up_ends_the_episode_without_a_step():
    (trajectory,) = play(Scripted(lambda view: "stop"), format=GivesUp())
    assert trajectory.ended == "gave_up" and len(trajectory.turns) == 1
    assert trajectory.outcome.score == 0 and trajectory.turns[0].valid


def test_the_runners_turn_limit_ends_an_episode():
    (trajectory,) = play(max_turns=2)
    assert trajectory.ended == "turn_limit" and len(trajectory.turns) == 2
    assert trajectory.outcome.score == pytest.approx(2 / 3)


class Truncating(worlds.InLoop):
    async def step(self, action):
        result = await super().step(action)
        return type(result)(result.observation, truncated=True)


def test_a_world_that_truncates_ends_by_turn_limit():
    (trajectory,) = play(world=worlds.world(Truncating))
    assert trajectory.ended == "turn_limit" and len(trajectory.turns) == 1


def test_a_context_that_would_not_hold_prompt_and_reply_ends_before_the_reply():
    trajectory, policy = play_ids(max_context=16, max_new_tokens=4)
    lengths = [len(request.prompt_ids) for request in policy.requests]
    assert trajectory.ended == "context_limit"
    assert lengths == [8] and len(trajectory.turns) == 1  # the next prompt has 15
    assert trajectory.final_observation.text == "left is step 1."


def test_an_episode_may_end_before_its_first_turn():
    trajectory, policy = play_ids(max_context=16, max_new_tokens=16)
    assert trajectory.ended == "context_limit" and not trajectory.turns and not policy.requests


def test_a_reply_that_the_policys_context_cut_ends_by_context_limit():
    trajectory, _ = play_ids(finish="length", max_new_tokens=16)
    assert trajectory.ended == "context_limit" and len(trajectory.turns) == 1


def test_a_reply_of_full_length_is_cut_and_the_episode_goes_on():
    trajectory, _ = play_ids(finish="length", max_new_tokens=2)
    assert trajectory.ended == "done"


def test_sampled_tokens_beyond_the_limit_end_an_episode():
    trajectory, _ = play_ids(max_episode_tokens=3)
    assert trajectory.ended == "token_limit"
    assert trajectory.num_tokens == 4


def test_time_of_the_world_beyond_the_limit_ends_an_episode_and_is_tried_again():
    (trajectory,) = play(tasks=[worlds.troubled("busy")], episode_seconds=0.02, tries=2)
    assert trajectory.ended == "time_limit" and trajectory.tries == 2
    assert trajectory.failure.startswith("the world took ")
    assert trajectory.outcome == Outcome(False, 0.0)
    assert trajectory.turns[1].seconds["world"] >= 0.03


def test_time_of_the_policy_does_not_count_as_the_worlds():
    def slow(view):
        worlds.busy(0.2)  # three times; a world that does nothing has half a second, however loaded the machine
        return "left"

    (trajectory,) = play(Scripted(slow), episode_seconds=0.5)
    assert trajectory.ended == "done"
    assert trajectory.turns[0].seconds["policy"] >= 0.2
    assert {"world", "policy", "reset"} == set(trajectory.turns[0].seconds)


@pytest.mark.parametrize(
    ("task", "words"),
    [
        (worlds.troubled("crash"), "InLoop.step: RuntimeError: the engine broke"),
        (worlds.troubled("crash", "reset"), "InLoop.reset: RuntimeError: the engine broke"),
        (worlds.troubled("crash", "outcome"), "InLoop.outcome: RuntimeError: the engine broke"),
        (worlds.troubled("await_forever"), "InLoop.step: no answer within 0.05 s"),
        (worlds.troubled("nan"), "InLoop.step: ValueError: StepResult.reward is nan; it must be finite"),
        (
            worlds.troubled("wrong"),
            "InLoop.step: TypeError: the world returned str; it must return an agentrl StepResult",
        ),
    ],
)
def test_a_world_that_fails_is_tried_again_and_then_recorded(task, words):
    (trajectory,) = play(tasks=[task], step_seconds=0.05, tries=2)
    assert trajectory.ended == "world_failure" and trajectory.tries == 2
    assert words.replace("InLoop", "SimpleNamespace") == trajectory.failure
    assert trajectory.outcome == Outcome(False, 0.0)


def test_a_world_that_fails_once_is_played_from_the_start_again(tmp_path):
    (trajectory,) = play(tasks=[worlds.troubled("crash", marker=tmp_path / "once")])
    assert trajectory.ended == "done" and trajectory.tries == 2 and len(trajectory.turns) == 3


def test_a_world_that_fails_at_its_close_costs_nothing(caplog):
    (trajectory,) = play(tasks=[worlds.troubled("crash", "close")])
    assert trajectory.ended == "done" and trajectory.tries == 1
    assert "the engine broke" in caplog.text


class Silent(Scripted):
    async def generate(self, request):
        await asyncio.Event().wait()


class Slow(Scripted):
    """Says that each reply has waited for a rate limit."""

    def __init__(self, takes=0.0, waited=0.0):
        super().__init__(left)
        self.takes, self.waited = takes, waited

    async def generate(self, request):
        await asyncio.sleep(self.takes)
        return Completion("left", waited=self.waited, output_tokens=2)


def test_the_wall_time_of_an_episode_ends_it_while_a_reply_is_waited_for_and_it_is_not_tried_again():
    (trajectory,) = play(Slow(takes=600), wall_seconds=0.02, tries=3)
    assert (trajectory.ended, trajectory.tries, trajectory.turns) == ("time_limit", 1, [])
    assert trajectory.failure.startswith("it took ") and "rollout.wall_seconds is 0.02" in trajectory.failure


def test_the_working_time_of_an_episode_is_without_what_its_replies_waited():
    (trajectory,) = play(Slow(takes=0.02), working_seconds=0.01)
    assert (trajectory.ended, len(trajectory.turns)) == ("time_limit", 1)
    assert "rollout.working_seconds is 0.01" in trajectory.failure
    (trajectory,) = play(Slow(takes=0.02, waited=600.0), working_seconds=0.01)
    assert trajectory.ended == "done"


def test_tokens_that_a_server_counts_use_up_those_of_an_episode():
    (trajectory,) = play(Slow(), max_episode_tokens=4)
    assert (trajectory.ended, len(trajectory.turns)) == ("token_limit", 2)


def unlucky(view):
    raise OSError("no route")


@pytest.mark.parametrize(
    ("policy", "words"),
    [
        (Scripted(unlucky), "policy: OSError: no route"),
        (Silent(left), "policy: no reply within 0.05 s"),
    ],
)
def test_a_policy_that_fails_is_tried_again_and_then_recorded(policy, words):
    (trajectory,) = play(policy, generate_seconds=0.05, tries=2)
    assert (trajectory.ended, trajectory.failure, trajectory.tries) == ("policy_failure", words, 2)


def test_a_policy_whose_numbers_do_not_fit_its_tokens_fails():
    class Wrong(IdPolicy):
        async def generate(self, request):
            return Completion("left", [1, 2], [-0.5])

    renderer = WordRenderer()
    (trajectory,) = play(Wrong(renderer), renderer=renderer, tries=1)
    assert trajectory.failure == "policy: ValueError: 1 logprobs for 2 tokens"


def test_a_damaged_game_is_told_at_once_and_all_other_episodes_are_closed():
    tasks = [*worlds.tasks(num=4), worlds.troubled("damaged", "reset"), *worlds.tasks("valid", num=4)]
    with pytest.raises(DataError, match="game 7 is damaged"):
        play(tasks=tasks)
    assert worlds.InLoop.num_open == 0


def test_a_cancelled_run_closes_its_worlds_and_releases_its_policy():
    async def main():
        renderer = WordRenderer()
        policy = IdPolicy(renderer)
        runner = Runner(WORLD, policy, format="action", renderer=renderer)
        running = asyncio.create_task(runner.run(jobs([worlds.troubled("await_forever")] * 3)))
        while len(policy.requests) < 3:
            await asyncio.sleep(0)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        return policy

    assert len(set(asyncio.run(main()).released)) == 3
    assert worlds.InLoop.num_open == 0


def test_a_reply_without_an_action_changes_nothing_and_is_told():
    replies = iter(["", "left", "left", "left"])
    (trajectory,) = play(Scripted(lambda view: next(replies)))
    first, second = trajectory.turns[:2]
    assert not first.readable and not first.valid and first.action == "" and first.seconds["world"] == 0
    assert second.observation.text == f"{UNREADABLE}\n\ntrain-0 begins with seed 0."
    assert second.observation.admissible == first.observation.admissible
    assert trajectory.ended == "done" and len(trajectory.turns) == 4


class Lenient(GivesUp):
    def parse(self, text, view):
        return Reply("right", readable=False)


def test_a_reply_that_is_unreadable_but_holds_an_action_is_played():
    (trajectory,) = play(format=Lenient())
    assert trajectory.ended == "done"
    assert [(turn.readable, turn.valid, turn.action) for turn in trajectory.turns] == [(False, True, "right")] * 3


def test_ids_of_an_append_only_episode_are_one_sequence():
    trajectory, policy = play_ids()
    turns = trajectory.turns
    assert [turn.continues for turn in turns] == [False, True, True]
    stream = []
    for turn, request in zip(turns, policy.requests, strict=True):
        stream += turn.prompt_ids
        assert tuple(stream) == request.prompt_ids
        stream += turn.completion.token_ids
    assert trajectory.source == "sampled"
    assert turns[0].completion.versions == [3, 3]
    assert len(set(policy.released)) == 1


def test_foreign_text_is_tokenised_once_and_has_no_log_probs():
    renderer = WordRenderer()
    (trajectory,) = play(renderer=renderer)
    assert all(turn.completion.token_ids == list(renderer.reply_ids("left")) for turn in trajectory.turns)
    assert all(turn.completion.logprobs is None for turn in trajectory.turns)
    assert [turn.continues for turn in trajectory.turns] == [False, True, True]
    assert trajectory.source == "logged"


def test_constrained_sampling_is_among_the_admissible_actions():
    trajectory, policy = play_ids(constrain="admissible", max_new_tokens=1)
    renderer = policy.renderer
    candidates = policy.requests[0].sampling.candidates
    assert candidates == tuple(map(renderer.reply_ids, ("left", "right", "straight on")))
    assert policy.requests[0].sampling.max_new_tokens == 3
    assert all(turn.completion.allowed for turn in trajectory.turns)


def test_constrained_sampling_without_admissible_actions_is_refused():
    with pytest.raises(ConfigError, match="steps tells no admissible actions"):
        play_ids(constrain="admissible", config=worlds.Config(admissible=False))


def test_constrained_sampling_in_a_format_of_free_text_is_refused():
    with pytest.raises(ConfigError, match="format Tags are not one of a few texts; use --format action"):
        play_ids(constrain="admissible", format="tags")


def test_a_policy_of_ids_needs_a_renderer():
    with pytest.raises(ConfigError, match="needs a renderer"):
        Runner(WORLD, IdPolicy(WordRenderer()))


def test_each_completion_has_a_seed_of_its_own_that_repeats():
    def seeds(rollout, step):
        _, policy = play_ids(job={"step": step}, rollouts=rollout + 1, seed=5)
        return [request.sampling.seed for request in policy.requests]

    assert seeds(0, 2) == [seed_of(5, "train-0", 2, 0, turn) for turn in range(3)]
    assert len(set(seeds(1, 2) + seeds(0, 3))) == 9


def test_a_second_try_has_other_seeds():
    _, policy = play_ids(tasks=[worlds.troubled("crash")], tries=2)
    assert len({request.sampling.seed for request in policy.requests}) == 4


def test_greedy_jobs_and_jobs_with_a_temperature():
    assert play_ids(job={"greedy": True})[1].requests[0].sampling.temperature == 0
    assert play_ids(job={"temperature": 0.3})[1].requests[0].sampling.temperature == 0.3
    assert play_ids(temperature=0.7)[1].requests[0].sampling.temperature == 0.7


def without_times(trajectories):
    records = [trajectory_to_json(trajectory) for trajectory in trajectories]
    for record in records:
        for turn in record["turns"]:
            turn["seconds"] = {}
    return records


def test_trajectories_do_not_depend_on_the_concurrency():
    def found(concurrency):
        settings = {"concurrency": concurrency, "max_turns": 6}
        config = worlds.Config(length=9)
        policy = RandomAdmissible(7)
        return without_times(play(policy, worlds.tasks(num=16), rollouts=4, config=config, **settings))

    assert found(1) == found(64)


def test_rollouts_of_a_task_meet_the_same_chance_unless_each_is_to_have_its_own():
    assert [t.task.seed for t in play(rollouts=3)] == [0, 0, 0]
    own = [t.task.seed for t in play(rollouts=3, env_seed="rollout")]
    assert len(set(own)) == 3
    assert own == [t.task.seed for t in play(rollouts=3, env_seed="rollout")]


def test_the_expert_plays_the_solution_and_then_the_first_admissible_action():
    (trajectory,) = play(Expert(WORLD), config=worlds.Config(length=5))
    assert [turn.action for turn in trajectory.turns] == ["left", "right", "left", "left", "left"]
    assert trajectory.source == "demonstration" and trajectory.policy == "expert"


def test_a_random_policy_without_admissible_actions_is_refused():
    with pytest.raises(ConfigError, match="tells no admissible actions"):
        play(RandomAdmissible(0), config=worlds.Config(admissible=False))


def test_images_of_a_prompt_are_named_by_their_content():
    trajectory, policy = play_ids(config=worlds.Config(images=True))
    name = hashlib.sha256(worlds.PNG).hexdigest()
    assert [turn.images for turn in trajectory.turns] == [(name,)] * 3
    assert [len(request.images) for request in policy.requests] == [1, 2, 3]
    (foreign,) = play(config=worlds.Config(images=True))
    assert foreign.turns[0].images == (name,)


class Summarises:
    """A memory that asks for a summary before every action."""

    def view(self, task, instructions, turns, observation, tools=()):
        summarise = not turns or turns[-1].kind == "act"
        num_acts = sum(turn.kind == "act" for turn in turns)
        return View(task, instructions, observation, turn=num_acts, kind="summarise" if summarise else "act")


def test_a_turn_of_the_memorys_own_takes_no_step_and_no_turn_of_the_limit():
    (trajectory,) = play(Scripted(lambda view: "left"), memory=Summarises(), max_turns=2)
    assert [turn.kind for turn in trajectory.turns] == ["summarise", "act", "summarise", "act"]
    assert trajectory.ended == "turn_limit"
    assert trajectory.turns[1].observation == trajectory.turns[0].observation


def test_a_format_that_breaks_is_recorded():
    class Broken(GivesUp):
        def parse(self, text, view):
            raise KeyError("action")

    (trajectory,) = play(format=Broken(), tries=1)
    assert trajectory.ended == "policy_failure" and trajectory.failure.startswith("format: KeyError")


def test_a_failure_of_the_policys_own_kind_keeps_its_words():
    def refused(view):
        raise PolicyFailure("api: 401")

    assert play(Scripted(refused), tries=1)[0].failure == "api: 401"
