"""What a turn costs does not depend on how deep it stands: counted in what is looked at, not in seconds."""

from collections.abc import Iterator

import pytest

from agentrl.config import RolloutConfig
from agentrl.envs import chain
from agentrl.envs.chain.reader import reader
from agentrl.history import History
from agentrl.memory.summary import Summary
from agentrl.memory.window import Window
from agentrl.memory.workspace import Workspace
from agentrl.prompts.report import ReportAndAction
from agentrl.runner import Job, Runner
from agentrl.types import Completion, Observation, Task, Turn


class Counting(list):  # type: ignore[type-arg]
    """A list that counts how many of its items are handed out."""

    looked = 0

    def __getitem__(self, place):  # type: ignore[no-untyped-def]
        found = super().__getitem__(place)
        Counting.looked += len(found) if isinstance(place, slice) else 1
        return found

    def __iter__(self) -> Iterator[object]:
        for item in super().__iter__():
            Counting.looked += 1
            yield item


def deep(depth: int) -> History:
    """So many turns, none of which wrote a report."""
    history = History(
        Turn(n, Observation(f"saw {n}"), [], False, Completion("so"), "go", True, True, 0.0) for n in range(depth)
    )
    history.append(
        Turn(depth, Observation("."), [], False, Completion("s"), "", True, True, 0.0, "summarise", "so far so good")
    )
    history.exchanges = Counting(history.exchanges)
    return history


@pytest.mark.parametrize("memory", [Workspace(), Window(), Summary()], ids=lambda memory: type(memory).__name__)
def test_a_view_looks_at_as_few_turns_at_any_depth(memory):
    looked = []
    for depth in (20, 2000):
        Counting.looked = 0
        view = memory.view(Task("chain", "c", "train", 1), "Win.", deep(depth), Observation("now"))
        assert view.turn == depth
        looked.append(Counting.looked)
    assert looked[0] == looked[1] <= 10


def test_an_episode_of_two_thousand_turns_is_played_to_its_end():
    config = chain.Config(shortest=2047, longest=2047, num_valid=1)
    form, seen = ReportAndAction(), []
    policy = reader(form)
    said = policy.generate

    async def generate(request):
        seen.append(len(str(request.messages)))
        return await said(request)

    policy.generate = generate
    runner = Runner(
        chain, policy, memory="workspace", format=form, rollout=RolloutConfig(max_turns=2048), config=config
    )
    (found,) = runner.play([Job(chain.tasks("valid", config)[0], "g")])
    assert found.outcome.success and found.num_acts == 2048
    assert max(seen[1:]) < 1.1 * min(seen[1:]), "prompts are as long at every depth"
    assert all(turn.report and turn.report.startswith(f"Letters read: {n}.") for n, turn in enumerate(found.turns))
