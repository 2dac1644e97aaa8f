"""Logged data as trajectories to learn from: episodes of a run, and rows of preferences, completions or messages.

A row becomes a group: one trajectory an answer, tokenised once for the model that learns. Messages are written by that
model's template as they stand, without memory and format; raw texts are tokenised without a template.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from agentrl.briefs import Brief, Briefs
from agentrl.config import DataConfig
from agentrl.errors import DataError, nearest
from agentrl.foreign import read_episodes, tokenised, trajectory_files
from agentrl.logged_groups import WORLD, fitting, group_of
from agentrl.logged_rows import PROMPTS, BadRow, Example, Format, example_of, format_of
from agentrl.row_files import READERS, Row, ending_of, rows
from agentrl.types import Memory, PromptFormat, Trajectory

_EPISODE = {"schema", "task", "turns"}
"""Keys of a stored episode."""


def read_data(
    source: str | Path,
    *,
    memory: Memory,
    format: PromptFormat,
    renderer: Any,
    briefs: Briefs = lambda task: Brief(),
    settings: DataConfig | None = None,
    note: Callable[[str], None] = lambda line: None,
    as_sampled: bool = False,
) -> list[Trajectory]:
    """Everything that `data` names, tokenised once for one model, in the order in which it stands there.

    source: a run directory, or a file or folder of episodes or of rows.
    memory, format, briefs: as the model that learns is spoken to; rows of messages are taken as they stand.
    renderer: that model's; None: turns hold no ids.
    note: is told, a line each, what was read and what was left out.
    as_sampled: episodes that this model is shown as they were played keep their log-probs, as in `tokenised`.
    Raises DataError for what is missing, damaged, of no known format, or holds nothing to learn from.
    """
    settings = settings or DataConfig()
    if data_kind(source) == "episodes":
        episodes = read_episodes(source)
        note(f"data: {source}: {len(episodes)} episodes")
        return tokenised(episodes, memory, format, renderer, briefs, as_sampled)
    form, read = read_examples(source, settings, note)
    if form.name == PROMPTS:
        raise DataError(
            f"data: {source} holds prompts without answers, which nothing can be learned from; play them: "
            f"--env {WORLD} --data {source} --reward MODULE:FUNCTION, with an algorithm that plays, as grpo"
        )
    found = fitting([group_of(example, renderer) for example in read], settings, note)
    if not found:
        raise DataError(
            f"data: none of the {len(read)} rows of {source} is as short as data_settings.max_tokens "
            f"({settings.max_tokens})"
        )
    return [trajectory for group in found for trajectory in group]


# ---- where it stands


def data_kind(source: str | Path) -> Literal["episodes", "rows"]:
    """What a source holds, by its first row.   Raises DataError where there is nothing that could be read."""
    path = data_files(source)[0]
    if ending_of(path) == ".parquet":
        return "rows"
    first = next(iter(rows(path)), None)
    return "episodes" if first is not None and first.columns.keys() >= _EPISODE else "rows"


def data_files(source: str | Path) -> list[Path]:
    """The files of a run directory, or of a folder (two levels deep), or the file itself.   Raises DataError."""
    path = Path(source).expanduser()
    known = f"known endings: {', '.join(READERS)}, with .gz too"
    if path.is_file():
        if ending_of(path) not in READERS:
            raise DataError(f"data: {source} has an unknown ending; {known}")
        return [path]
    if not path.is_dir():
        beside = [p.name for p in path.parent.iterdir()] if path.parent.is_dir() else []
        raise DataError(f"data: there is no file or folder {source}{nearest(path.name, beside)}")
    if (path / "config.yaml").is_file() or (path / "trajectories").is_dir():
        return trajectory_files(path)
    found = sorted(p for depth in ("*", "*/*") for p in path.glob(depth) if p.is_file() and ending_of(p) in READERS)
    if not found:
        raise DataError(f"data: {source} holds neither trajectories of a run nor a file of rows; {known}")
    return found


# ---- rows


def examples(source: str | Path) -> Iterator[tuple[Format | None, Example | DataError]]:
    """Every row of a source: its format and what it says, or what is wrong with it and where.

    Raises DataError where a file cannot be read on.
    """
    began: tuple[str, Format, bool] | None = None
    files = data_files(source)
    for path in files:
        for number, row in enumerate(rows(path, '{"prompt": "...", "chosen": "...", "rejected": "..."}'), 1):
            try:
                form, example = _read(row)
                raw = isinstance(example.prompt, str)
                began = began or (row.place, form, raw)
                _as_it_began(began, form, raw)
            except BadRow as bad:
                yield None, DataError(f"data: {row.place} {bad}")
                continue
            name = path.name if len(files) == 1 else str(path.relative_to(Path(source).expanduser()))
            yield form, replace(example, place=row.place, group=f"{name}:{number}")


def _read(row: Row) -> tuple[Format, Example]:
    if row.problem:
        raise BadRow(row.problem)
    if row.columns.keys() >= _EPISODE:
        raise BadRow("is an episode among rows; keep episodes and rows apart")
    form = format_of(row.columns)
    return form, example_of(form, row.columns)


def _as_it_began(began: tuple[str, Format, bool], form: Format, raw: bool) -> None:
    """Raises BadRow for a row of another format than the first."""
    place, first, first_raw = began
    if form.name != first.name:
        raise BadRow(f"is of the format {form.name!r}, but the data began with {first.name!r} ({place})")
    if raw != first_raw:
        now, then = ("a raw text", "messages") if raw else ("messages", "a raw text")
        raise BadRow(f"has {now}, but the data began with {then} ({place}); these are tokenised otherwise")


def read_examples(
    source: str | Path, settings: DataConfig | None = None, note: Callable[[str], None] = lambda line: None
) -> tuple[Format, list[Example]]:
    """The format and the rows of a source.

    Raises DataError for the first row that is not as it should be, unless `bad_rows` is skip; and where there is none.
    """
    skip = settings is not None and settings.bad_rows == "skip"
    form: Format | None = None
    found: list[Example] = []
    bad: list[DataError] = []
    for one, said in examples(source):
        if isinstance(said, Example):
            form = form or one
            found.append(said)
        elif skip:
            bad.append(said)
        else:
            raise DataError(f"{said} (data_settings.bad_rows=skip leaves such rows out; agentrl data check lists all)")
    if form is None:
        first = f"; {bad[0]}" if bad else ""
        raise DataError(f"data: {source} holds no row{first}")
    raw = "raw texts" if isinstance(found[0].prompt, str) else "messages"
    note(f"data: {source}: {len(found)} rows, {form.name}, {raw}")
    if bad:
        note(f"data: {len(bad)} rows are left out, since they are not as they should be; the first: {bad[0]}")
    return form, found
