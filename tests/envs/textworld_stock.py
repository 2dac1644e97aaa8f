"""The original engine in a plain loop, as anyone would play TextWorld: what our engine is compared with."""

import warnings
from pathlib import Path

from agentrl.envs.textworld.engine import Player
from agentrl.envs.textworld.games import GameRef, load
from agentrl.types import Task


def written(ref: GameRef, folder: Path) -> Path:
    """A game as the two files that tw-make writes."""
    game = load(ref)
    file = folder / f"{ref.seed}.z8"
    file.write_bytes(game.story)
    file.with_suffix(".json").write_text(game.about, encoding="utf-8")
    return file


def heard(file: Path, commands: list[str]) -> list[tuple]:
    """(text, admissible commands, score, won, lost) at the start and after each command, of the stock engine."""
    import textworld

    asked = textworld.EnvInfos(feedback=True, admissible_commands=True, score=True, won=True, lost=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that the interpreter knows no score of this game: TextWorld asks the game
        env = textworld.start(str(file), asked)
    state = env.reset()
    told = [(state.feedback, tuple(state.admissible_commands), state.score, state.won, state.lost)]
    for command in commands:
        if state.won or state.lost:
            break
        state, _, _ = env.step(command)
        told.append((state.feedback, tuple(state.admissible_commands), state.score, state.won, state.lost))
    env.close()
    return told


def ours(task: Task, commands: list[str]) -> list[tuple]:
    """The same of our engine."""
    player = Player()
    told = [(player.start(task.data, 1), player.admissible(), player.score, player.won, player.lost)]
    for command in commands:
        if player.won or player.lost:
            break
        told.append((player.play(command), player.admissible(), player.score, player.won, player.lost))
    player.close()
    return told
