"""What a source of logged data holds, and what is wrong with it: the facts behind `agentrl data check`."""

import itertools
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any

from agentrl.errors import DataError
from agentrl.foreign import read_episodes
from agentrl.logged_data import examples
from agentrl.logged_groups import group_of, num_tokens
from agentrl.logged_rows import Example, Format, Talk
from agentrl.types import Trajectory

MOST_PROBLEMS = 20
"""Of the rows that are not as they should be as many are told one by one."""
MOST_EXAMPLES = 2

Length = Callable[[Example], tuple[int, list[int]]]
"""A row -> the length of its prompt, and of each answer."""


@dataclass(kw_only=True)
class Facts:
    """What a source holds."""

    format: str
    """Of its rows; `episodes` for those of a run."""
    num: int = 0
    """Rows, or episodes, that are as they should be."""
    unit: str = "letters"
    """In which lengths are counted: letters or tokens."""
    raw: bool = False
    """Raw texts, not messages."""
    lengths: dict[str, tuple[float, int]] = field(default_factory=dict)
    """What -> (median, largest)."""
    longest: int = 0
    """Prompt and answer together, the longest."""
    score_gap: tuple[float, float, float] | None = None
    """(smallest, median, largest) of best less worst score of a row; None where rows compare nothing."""
    longer_chosen: tuple[float, float] | None = None
    """(median of chosen less rejected, share of rows in which the chosen one is longer)."""
    counts: dict[str, int] = field(default_factory=dict)
    """What else there is to count, by its name."""
    repeats: list[tuple[str, str]] = field(default_factory=list)
    """(place, where the very same row stood before)."""
    shown: list[str] = field(default_factory=list)
    """The first examples, as texts."""
    problems: list[str] = field(default_factory=list)
    """What is wrong, with file and line; the first `MOST_PROBLEMS`."""
    num_problems: int = 0


def facts_of_rows(source: str, renderer: Any = None) -> Facts:
    """Read every row, and go on behind those that are not as they should be.

    renderer: of the model in whose tokens lengths are counted; None: letters.
    Raises DataError for what cannot be read at all, or holds no row.
    """
    form: Format | None = None
    found: list[Example] = []
    problems: list[str] = []
    try:
        for one, said in examples(source):
            if isinstance(said, Example):
                form = form or one
                found.append(said)
            else:
                problems.append(str(said))
    except DataError as error:  # the file cannot be read on: what came before is told all the same
        problems.append(str(error))
    if form is None and not problems:
        raise DataError(f"data: {source} holds no row")
    facts = Facts(format=form.name if form else "none", num=len(found), num_problems=len(problems))
    facts.problems = problems[:MOST_PROBLEMS]
    if found:
        _measure(facts, found, renderer)
    return facts


def _measure(facts: Facts, found: Sequence[Example], renderer: Any) -> None:
    facts.raw = isinstance(found[0].prompt, str)
    facts.unit = "letters" if renderer is None else "tokens"
    sizes = [_letters(example) if renderer is None else _tokens(example, renderer) for example in found]
    facts.lengths["prompt"] = _spread([prompt for prompt, _ in sizes])
    answers = [size for _, of_row in sizes for size in of_row]
    if answers:
        facts.lengths["answer"] = _spread(answers)
    facts.longest = max(prompt + max(of_row, default=0) for prompt, of_row in sizes)
    compared = [example for example in found if len(example.answers) > 1]
    if compared:
        gaps = [_score_gap(example) for example in compared]
        facts.score_gap = (min(gaps), median(gaps), max(gaps))
    pairs = [of_row for _, of_row in sizes if len(of_row) == 2]
    if pairs and len(pairs) == len(found):
        gaps = [chosen - rejected for chosen, rejected in pairs]
        facts.longer_chosen = (median(gaps), sum(gap > 0 for gap in gaps) / len(gaps))
    _count(facts, found)
    facts.shown = [_example_text(example) for example in found[:MOST_EXAMPLES]]


def _count(facts: Facts, found: Sequence[Example]) -> None:
    first: dict[tuple[Any, ...], str] = {}
    for example in found:
        said = (example.prompt, *(answer.said for answer in example.answers))
        if said in first:
            facts.repeats.append((example.place, first[said]))
        first.setdefault(said, example.place)
    labels = Counter(example.answers[0].success for example in found if len(example.answers) == 1)
    counts = {
        "prompts": len({example.asked for example in found}),
        "labelled true": labels[True] if labels[False] else 0,
        "labelled false": labels[False],
        "with a reference": sum(example.reference is not None for example in found),
        "with several turns": sum(any(_num_turns(a.said) > 1 for a in example.answers) for example in found),
        "with two messages of one role in a row": sum(_repeats_a_role(example.prompt) for example in found),
    }
    facts.counts = {name: count for name, count in counts.items() if count}


def _num_turns(said: Talk) -> int:
    return 1 if isinstance(said, str) else sum(role == "assistant" for role, _ in said)


def _repeats_a_role(prompt: Talk) -> bool:
    return not isinstance(prompt, str) and any(one[0] == other[0] for one, other in itertools.pairwise(prompt))


def _score_gap(example: Example) -> float:
    scores = [answer.score for answer in example.answers]
    return max(scores) - min(scores)


def _spread(sizes: Sequence[int]) -> tuple[float, int]:
    return median(sizes), max(sizes)


def _letters(example: Example) -> tuple[int, list[int]]:
    return len(_text(example.prompt)), [len(_text(answer.said)) for answer in example.answers]


def _tokens(example: Example, renderer: Any) -> tuple[int, list[int]]:
    group = group_of(example, renderer)
    if not group:  # a prompt alone
        asked = example.prompt
        messages = [] if isinstance(asked, str) else [{"role": role, "content": text} for role, text in asked]
        ids = renderer.text_ids(asked, [""])[0] if isinstance(asked, str) else renderer.render(messages).ids
        return len(ids), []
    prompt = len(group[0].turns[0].prompt_ids)
    return prompt, [num_tokens(trajectory) - prompt for trajectory in group]


def _text(said: Talk) -> str:
    return said if isinstance(said, str) else "\n".join(text for _, text in said)


def _example_text(example: Example) -> str:
    asked = example.asked
    lines = [asked if isinstance(asked, str) else "\n".join(f"{role}: {text}" for role, text in asked[-1:])]
    for answer in example.answers:
        lines.append(f"[{answer.score:g}] {_text(answer.said)}")
    return "\n".join(lines)


def facts_of_episodes(source: str) -> Facts:
    """Read every episode of a run.   Raises DataError for a damaged file and where none can be learned from."""
    episodes: list[Trajectory] = read_episodes(source)
    facts = Facts(format="episodes", num=len(episodes), unit="tokens")
    facts.lengths = {
        "turns": _spread([len(episode.turns) for episode in episodes]),
        "answer": _spread([episode.num_tokens for episode in episodes]),
    }
    facts.longest = max(map(num_tokens, episodes))
    worlds = Counter(episode.task.env for episode in episodes)
    facts.counts = {f"of {name}": count for name, count in worlds.items()}
    facts.counts |= {
        "groups": len({episode.group for episode in episodes}),
        "successes": sum(episode.outcome.success for episode in episodes),
    }
    return facts
