"""The package's own environment in a plain loop, on a Java machine with the same flags, for comparison."""

import os
from collections.abc import Iterable
from typing import Any
from unittest.mock import patch

from agentrl.envs.scienceworld.machine import FLAGS

Heard = tuple[str, tuple[str, ...], float, int, bool]
"""Text, valid commands, reward, score from -100 to 100, is it over."""


def stock_env() -> Any:
    """Nothing is changed in it; what it starts takes its flags from the environment. Close it with `end`."""
    from scienceworld import ScienceWorldEnv

    with patch.dict(os.environ, {"JAVA_TOOL_OPTIONS": " ".join(FLAGS)}):
        return ScienceWorldEnv("", envStepLimit=10**6)


def end(env: Any) -> None:
    """Close it and bury its Java process, which it would leave as a zombie."""
    process = env._gateway.java_process
    env._obj_tree_tempdir.cleanup()
    env.close()
    process.wait(10)
    for pipe in (process.stdin, process.stdout):
        pipe.close()


def heard(env: Any, kind: str, variation: int, simplifications: str, commands: Iterable[str]) -> list[Heard]:
    """An episode as anyone would play it with the package."""
    env.load(kind, variation, simplifications)
    text, info = env.reset()
    found: list[Heard] = [(text, tuple(info["valid"]), 0, info["score"], False)]
    for command in commands:
        text, reward, over, info = env.step(command)
        found.append((text, tuple(info["valid"]), reward, info["score"], over))
        if over:
            break
    return found


def gold(env: Any, kind: str, variation: int, simplifications: str) -> list[str]:
    """Its gold path."""
    env.load(kind, variation, simplifications, generateGoldPath=True)
    return list(env.get_gold_action_sequence())
