"""Rows of logged data as groups of trajectories: one a row, with a trajectory an answer, in the ids of one model.

Messages are written by that model's template as they stand: those of the prompt carry no loss, an assistant's after it
are turns, and the user's between them are what these turns observe. A raw text is tokenised without a template.
"""

import copy
import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from agentrl.config import DataConfig
from agentrl.foreign import Ids, Tokeniser
from agentrl.logged_rows import Example, Said, Talk
from agentrl.seeds import seed_of
from agentrl.types import Completion, Observation, Outcome, Task, Trajectory, Turn

WORLD = "prompts"
"""The world whose tasks are the prompts of rows."""


@dataclass(frozen=True, slots=True)
class Prompt:
    """What a task of the world `prompts` knows."""

    text: str
    """The last message, which is to be answered; or the raw text."""
    system: str = ""
    earlier: tuple[Said, ...] = ()
    """(role, text) of the messages before it, the system's aside."""
    answer: str | None = None
    """The row's reference, or the best answer that it has."""

    @property
    def observation(self) -> Observation:
        """What is seen before the reply."""
        return Observation(self.text, earlier=self.earlier)


def prompt_of(example: Example) -> Prompt:
    """A row's prompt, in the words of a task."""
    best = max(example.answers, key=lambda answer: answer.score).said if example.answers else None
    known = example.reference if example.reference is not None else best
    answer = known if known is None or isinstance(known, str) else known[0][1]
    asked = example.asked
    if isinstance(asked, str):
        rest = answer if example.prompt or answer is None else answer[len(asked) :]
        return Prompt(asked, answer=rest)
    system = asked[0][1] if asked[0][0] == "system" else ""
    return Prompt(asked[-1][1], system, asked[1 if system else 0 : -1], answer)


def task_id(prompt: Talk) -> str:
    """The id of the task that a prompt is: equal prompts are one task."""
    parts = (prompt,) if isinstance(prompt, str) else tuple(part for said in prompt for part in said)
    return f"prompt-{seed_of(WORLD, *parts):016x}"


def task_of(example: Example, split: str) -> Task:
    """The task that a row's prompt is."""
    name = task_id(example.asked)
    return Task(WORLD, name, split, seed_of("prompts-task", name), data=prompt_of(example))


def group_of(example: Example, renderer: Any) -> list[Trajectory]:
    """A trajectory for each answer of a row, in its order; what the row pays is on the last turn too.

    renderer: of the model that learns; None: turns hold no ids.
    """
    task = task_of(example, "train")
    talks = _turns_of_texts(example, renderer) if isinstance(example.prompt, str) else _turns(example, renderer)
    for turns, answer in zip(talks, example.answers, strict=True):
        turns[-1].reward = answer.score
    return [
        Trajectory(
            task=task,
            group=example.group,
            rollout=number,
            turns=turns,
            final_observation=None,
            outcome=Outcome(answer.success, answer.score),
            ended="done",
            source="logged",
            reference=_text(example.reference),
        )
        for number, (turns, answer) in enumerate(zip(talks, example.answers, strict=True))
    ]


def _text(said: Talk | None) -> str:
    """What the assistant says, its messages joined by blank lines."""
    if said is None or isinstance(said, str):
        return said or ""
    return "\n\n".join(text for role, text in said if role == "assistant")


def _turns_of_texts(example: Example, renderer: Any) -> list[list[Turn]]:
    assert isinstance(example.prompt, str)
    texts = [_text(answer.said) for answer in example.answers]
    prompt, replies = ((), [()] * len(texts)) if renderer is None else renderer.text_ids(example.prompt, texts)
    seen, shared = prompt_of(example).observation, list(map(_same, prompt))
    return [
        [_turn(0, seen, text, shared, Ids(token_ids=ids), raw=True)] for text, ids in zip(texts, replies, strict=True)
    ]


def _turns(example: Example, renderer: Any) -> list[list[Turn]]:
    """The turns of each answer; the prompt is rendered once for all of them."""
    assert not isinstance(example.prompt, str)
    messages = [_message(said) for said in example.prompt]
    opened = Tokeniser(renderer)
    first = opened.prompt(messages) if renderer is not None else Ids()
    shared, found = list(map(_same, first.prompt_ids)), []
    for answer in example.answers:
        tokeniser, seen = copy.copy(opened), prompt_of(example).observation
        said, turns = list(messages), list[Turn]()
        assert not isinstance(answer.said, str)
        for role, text in answer.said:
            if role == "assistant" and not turns:
                ids = tokeniser.reply(first, text) if renderer is not None else first
                turns.append(_turn(0, seen, text, shared, ids))
            elif role == "assistant":
                ids = tokeniser.turn(said, text)
                turns.append(_turn(len(turns), seen, text, list(ids.prompt_ids), ids))
            else:
                seen = Observation(text)
            said.append(_message((role, text)))
        found.append(turns)
    return found


def _message(said: Said) -> dict[str, str]:
    return {"role": said[0], "content": said[1]}


@functools.cache
def _same(number: int) -> int:
    """One object for all that are equal: of an id that comes a million times, a list holds a pointer."""
    return number


def _turn(position: int, seen: Observation, reply: str, prompt_ids: list[int], ids: Ids, raw: bool = False) -> Turn:
    action = reply if raw else reply.strip()  # as the format `action` reads it
    return Turn(
        position=position,
        observation=seen,
        prompt_ids=prompt_ids,
        continues=ids.continues,
        completion=Completion(reply, token_ids=list(map(_same, ids.token_ids))),
        action=action,
        readable=True,
        valid=True,
        reward=0.0,
    )


# ---- examples that are too long


def fitting(
    groups: Sequence[list[Trajectory]], settings: DataConfig, note: Callable[[str], None]
) -> list[list[Trajectory]]:
    """The groups that fit, or are made to; `note` is told how many are not as they stand in the data."""
    most = settings.max_tokens
    if not most:
        return list(groups)
    found, num_cut, num_dropped = [], 0, 0
    for group in groups:
        if max(map(num_tokens, group)) <= most:
            found.append(group)
            continue
        cut = [_cut(trajectory, most) for trajectory in group] if settings.over_long == "cut" else []
        whole = [trajectory for trajectory in cut if trajectory is not None]
        if len(whole) == len(group) and len(set(map(_said, whole))) == len(group):
            found.append(whole)
            num_cut += 1
        else:
            num_dropped += 1
    for num, what in ((num_cut, "replies are cut"), (num_dropped, "they are left out")):
        if num:
            note(f"data: {num} of {len(groups)} rows have more than {most} tokens (data_settings.max_tokens); {what}")
    return found


def num_tokens(trajectory: Trajectory) -> int:
    """Tokens of the longest sequence of a trajectory: prompts and replies."""
    longest = length = 0
    for turn in trajectory.turns:
        length = (length if turn.continues else 0) + len(turn.prompt_ids) + len(turn.completion.token_ids)
        longest = max(longest, length)
    return longest


def _said(trajectory: Trajectory) -> tuple[tuple[int, ...], ...]:
    return tuple(tuple(turn.completion.token_ids) for turn in trajectory.turns)


def _cut(trajectory: Trajectory, most: int) -> Trajectory | None:
    """The trajectory up to `most` tokens, what it pays on its last turn; None where nothing is left of its reply."""
    turns, length = [], 0
    for turn in trajectory.turns:
        length = (length if turn.continues else 0) + len(turn.prompt_ids)
        room = most - length
        if room < len(turn.completion.token_ids):
            if room > 0:
                kept = replace(turn.completion, token_ids=turn.completion.token_ids[:room], finish="length")
                turns.append(replace(turn, completion=kept))
            break
        length += len(turn.completion.token_ids)
        turns.append(turn)
    if not turns:
        return None
    turns[-1] = replace(turns[-1], reward=trajectory.outcome.score)
    return replace(trajectory, turns=turns)
