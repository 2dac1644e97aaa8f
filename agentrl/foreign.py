"""Text that no policy of ours sampled, as trajectories to learn from: other models' episodes, demonstrations.

Every prompt is written anew from what was seen and said, by the memory, format and renderer of the model that learns;
every reply is tokenised once. There are no log-probs of a sampler. Syntheses stand where that memory asks for them:
those of the episode where it asked at the same place, plain ones elsewhere.
"""

import functools
import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from agentrl.briefs import Brief, Briefs
from agentrl.errors import DataError
from agentrl.history import History
from agentrl.models.chat_template import RAW
from agentrl.policies.scripted import write
from agentrl.records import read_trajectories
from agentrl.seeds import seed_of
from agentrl.types import ENDS, Completion, Memory, Message, Observation, PromptFormat, Trajectory, Turn, View


@dataclass(frozen=True, slots=True)
class Ids:
    """A turn in ids: what `Turn` and `Completion` have under the same names."""

    prompt_ids: tuple[int, ...] = ()
    continues: bool = False
    images: tuple[str, ...] = ()
    token_ids: tuple[int, ...] = ()


class Tokeniser:
    """Tokenises one episode, turn by turn, as if its replies had been sampled here."""

    def __init__(self, renderer: Any) -> None:
        """renderer: of the model that learns; None: turns hold no ids."""
        self._renderer = renderer
        self._rendered: Any = None
        self._said: Completion | None = None

    def turn(self, messages: Sequence[Message], reply: str) -> Ids:
        """Ids of the next turn.   messages: its prompt.   reply: the text that answered it."""
        if self._renderer is None:
            return Ids()
        if messages[0]["role"] == RAW:
            prompt, (token_ids,) = self._renderer.text_ids(messages[0]["content"], [reply])
            return Ids(prompt, token_ids=token_ids)
        return self.reply(self.prompt(messages), reply)

    def prompt(self, messages: Sequence[Message]) -> Ids:
        """Ids of the next turn's prompt; a copy of the tokeniser made now gives it another reply."""
        shown = len(self._rendered.images) if self._rendered is not None else 0
        self._rendered = rendered = self._renderer.render(messages, None, self._rendered, self._said)
        images = rendered.images[shown if rendered.continues else 0 :]
        return Ids(tuple(rendered.new_ids), rendered.continues, tuple(images))

    def reply(self, prompt: Ids, reply: str) -> Ids:
        """Ids of the turn with this prompt and reply."""
        token_ids = self._renderer.reply_ids(reply)
        self._said = Completion(reply, token_ids=list(token_ids))
        return replace(prompt, token_ids=tuple(token_ids))


def acting_view(
    see: Callable[[], View], turns: History, format: PromptFormat, tokeniser: Tokeniser, observation: Observation
) -> View:
    """What is shown to the next action, once the syntheses that the memory asks for before it are written, plainly.

    see: the view after `turns`, which these syntheses are appended to.   observation: the newest one.
    They carry no loss: nobody said them.
    """
    while (view := see()).kind == "summarise":
        text = write(format, "", view)
        ids = tokeniser.turn(format.messages(view), text)
        turns.append(
            Turn(
                position=len(turns),
                observation=observation,
                prompt_ids=list(ids.prompt_ids),
                continues=ids.continues,
                completion=Completion(text, list(ids.token_ids)),
                action="",
                readable=True,
                valid=True,
                reward=0.0,
                kind="summarise",
                report=format.parse(text, view).report,
                images=ids.images,
                learn=False,
            )
        )
    return view


def trajectory_files(source: str | Path) -> list[Path]:
    """The files that hold the trajectories of a run or evaluation, by its folder; or the one file that is named.

    Raises DataError where there are none.
    """
    path = Path(source).expanduser()
    if path.is_file():
        return [path]
    folder = path / "trajectories" if (path / "trajectories").is_dir() else path
    files = sorted(folder.glob("*.jsonl.gz"))
    if not files:
        what = "holds no trajectories" if path.is_dir() else "is not there"
        raise DataError(f"data: {source} {what}; name a run directory, or a .jsonl.gz of trajectories")
    return files


def read_episodes(source: str | Path) -> list[Trajectory]:
    """Every episode of a run, an evaluation or a file that can be learned from; infrastructure failures are left out.

    Raises DataError where there is none, and for a damaged file.
    """
    episodes = [t for file in trajectory_files(source) for t in read_trajectories(file)]
    found = [t for t in episodes if t.turns and not ENDS[t.ended].infrastructure]
    if not found:
        raise DataError(f"data: none of the {len(episodes)} episodes in {source} can be learned from")
    return found


def tokenised(
    trajectories: Iterable[Trajectory],
    memory: Memory,
    format: PromptFormat,
    renderer: Any,
    briefs: Briefs = lambda task: Brief(),
    as_sampled: bool = False,
) -> list[Trajectory]:
    """The same episodes in the ids of one model; log-probs are None, whoever played them, and `source` stays.

    memory, format: as the model that learns is spoken to.   renderer: that model's.
    briefs: what the world that was played tells before each task.
    as_sampled: an episode stays as it was played, with its ids and log-probs, where this model is shown the same ids:
    it has the tokenizer, template, memory and format that it was played in.
    A reply that was cut at its length carries no loss, since its end is not what was said.
    Raises DataError for a reply in which the format reads another action than the one that was played.
    """
    return [
        trajectory
        if as_sampled and _shown_the_same(trajectory, memory, format, renderer, briefs(trajectory.task))
        else _tokenised(trajectory, memory, format, renderer, briefs(trajectory.task))
        for trajectory in trajectories
    ]


def _shown_the_same(trajectory: Trajectory, memory: Memory, format: PromptFormat, renderer: Any, brief: Brief) -> bool:
    """Whether every prompt that opens a sequence has the ids that were answered, and every answer its log-probs."""
    if any(turn.completion.logprobs is None for turn in trajectory.turns):
        return False
    before = History()
    for turn in trajectory.turns:
        view = memory.view(trajectory.task, brief.instructions, before, turn.observation, brief.tools)
        if view.kind != turn.kind:
            return False
        if not turn.continues and list(renderer.render(format.messages(view)).ids) != list(turn.prompt_ids):
            return False
        before.append(turn)
    return True


def _tokenised(
    trajectory: Trajectory,
    memory: Memory,
    format: PromptFormat,
    renderer: Any,
    brief: Brief,
) -> Trajectory:
    turns = History()
    tokeniser = Tokeniser(renderer)
    for turn in trajectory.turns:
        see = functools.partial(memory.view, trajectory.task, brief.instructions, turns, turn.observation, brief.tools)
        view = acting_view(see, turns, format, tokeniser, turn.observation) if turn.kind == "act" else see()
        if view.kind != turn.kind:  # a synthesis that this memory does not ask for
            turns[-1].reward += turn.reward
            continue
        text = turn.completion.text
        reply = format.parse(text, view)
        if turn.kind == "act" and (reply.action, reply.readable) != (turn.action, turn.readable):
            raise DataError(
                f"data: turn {turn.position + 1} of task {trajectory.task.id!r} was played as {turn.action!r}, but the "
                f"format {type(format).__name__} reads {reply.action!r}; use the format in which it was played"
            )
        ids = tokeniser.turn(format.messages(view), text)
        completion = Completion(text, list(ids.token_ids), finish=turn.completion.finish, cost=turn.completion.cost)
        turns.append(
            replace(
                turn,
                position=len(turns),
                prompt_ids=list(ids.prompt_ids),
                continues=ids.continues,
                images=ids.images,
                completion=completion,
                readable=reply.readable,
                report=reply.report,
                learn=turn.learn and completion.finish == "stop",
            )
        )
    return replace(trajectory, turns=list(turns))


def drawn(episodes: Sequence[Trajectory], num: int, seed: int, step: int) -> list[Trajectory]:
    """What a step imitates: `num` episodes, each once before any again, in an order that the seed shuffles.

    Of logged rows only answers that were preferred, or labelled as good.   Raises DataError where there is none.
    """
    episodes = [episode for episode in episodes if episode.source != "logged" or episode.outcome.success]
    if not episodes:
        raise DataError("data: none of the answers is labelled as good, so that there is nothing to imitate")
    return [episodes[number] for number in drawn_numbers(len(episodes), num, seed, step)]


def drawn_numbers(size: int, num: int, seed: int, step: int) -> list[int]:
    """Which of `size` things a step gets: `num` of them, each once before any again, as the seed shuffles each lap."""
    orders: dict[int, list[int]] = {}
    found = []
    for place in range(step * num, (step + 1) * num):
        lap, number = divmod(place, size)
        if lap not in orders:
            orders[lap] = list(range(size))
            random.Random(seed_of("data", seed, lap)).shuffle(orders[lap])
        found.append(orders[lap][number])
    return found
