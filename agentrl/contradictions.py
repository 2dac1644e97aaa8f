"""What cannot go together in an algorithm, one rule a row, with the reason: refused before anything is loaded."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from agentrl.config import RunConfig
from agentrl.errors import ConfigError

Parts = Mapping[str, Sequence[Any]]
"""slot -> the parts that stand in it and are not switched off."""


@dataclass(frozen=True)
class Rule:
    """A part may not stand where it is."""

    broken: Callable[[Any, Parts, Any], bool]
    """(part, all parts, algorithm)."""
    reason: str
    """{returns}: the name of the returns part."""


def _any_needs(parts: Sequence[Any], need: str) -> bool:
    return any(need in part.needs for part in parts)


def _terms(parts: Parts) -> list[Any]:
    return [*parts["surrogate"], *parts["regularisers"]]


def _adds_up(part: Any) -> bool:
    return part.kind == "advantage" and ("value" in part.needs or part.per_turn)


RULES = (
    Rule(
        lambda part, parts, algorithm: "pairs" in part.needs and not parts["pairing"],
        "it learns from preference pairs, and nothing makes any; name a pairing, as parts.pairing=best-worst",
    ),
    Rule(
        lambda part, parts, algorithm: (
            part.kind == "pairing" and not any(_any_needs(parts[slot], "pairs") for slot in parts)
        ),
        "no part learns from its pairs; exchange the surrogate too, as parts.surrogate=preference",
    ),
    Rule(
        lambda part, parts, algorithm: "sampled" in part.needs and "demonstrations" in algorithm.needs,
        "demonstrations were not sampled and have no log-probs of a sampling engine",
    ),
    Rule(
        lambda part, parts, algorithm: "sampled" in part.needs and _any_needs(parts["rewrites"], "solutions"),
        "a rewrite brings demonstrations into the batch, which have no log-probs of a sampling engine",
    ),
    Rule(
        lambda part, parts, algorithm: part.kind in ("rewrite", "gate") and "demonstrations" in algorithm.needs,
        "the algorithm learns from demonstrations alone, which are no groups of rollouts",
    ),
    Rule(
        lambda part, parts, algorithm: (
            part.kind == "rewrite" and "solutions" in part.needs and not _any_needs(_terms(parts), "solutions")
        ),
        "no surrogate learns from the demonstrations that it brings; name one, as parts.surrogate=hpt-hybrid",
    ),
    Rule(
        lambda part, parts, algorithm: (
            part.kind != "rewrite" and "solutions" in part.needs and not _any_needs(parts["rewrites"], "solutions")
        ),
        "it learns from demonstrations beside rollouts, and no rewrite brings any; add parts.rewrites=hpt-demonstrate",
    ),
    Rule(
        lambda part, parts, algorithm: "greedy" in part.needs and "demonstrations" in algorithm.needs,
        "it compares with an episode of the greedy policy, and the algorithm plays none of its own",
    ),
    Rule(
        lambda part, parts, algorithm: "greedy" in part.needs and _any_needs(parts["rewrites"], "past"),
        "a rewrite brings episodes of earlier steps, and no greedy episode of the policy that played them",
    ),
    Rule(
        lambda part, parts, algorithm: part.aligned and _any_needs(parts["rewrites"], "hints"),
        "it compares replies token by token, and a rewrite puts replies to another prompt (a hint) into the group",
    ),
    Rule(
        lambda part, parts, algorithm: (
            (part.kind == "modifier" or "advantage" in part.needs) and not parts["advantage"]
        ),
        "it needs an advantage; name one, as parts.advantage=group-norm",
    ),
    Rule(
        lambda part, parts, algorithm: "value" in part.needs and part.kind != "value-loss" and not parts["value_loss"],
        "it reads a critic's values, and there is no critic; add one, as parts.value_loss=value-clip",
    ),
    Rule(
        lambda part, parts, algorithm: part.kind == "value-loss" and not _any_needs(parts["advantage"], "value"),
        "no advantage reads the critic's values; name one, as parts.advantage=gae",
    ),
    Rule(
        lambda part, parts, algorithm: _adds_up(part) and not parts["returns"][0].per_turn,
        "returns {returns!r} credit each turn with the whole episode, and it would be counted at every turn; "
        "use parts.returns=turn-reward or last-turn-outcome",
    ),
    Rule(
        lambda part, parts, algorithm: (
            part.kind == "reward" and part.adds_to == "score" and "reward" in parts["returns"][0].needs
        ),
        "it changes the outcome's score, which returns {returns!r} does not read; use parts.returns=outcome",
    ),
    Rule(
        lambda part, parts, algorithm: (
            part.kind == "reward"
            and part.adds_to == "turn"
            and not _any_needs((*parts["returns"], *parts["advantage"]), "reward")
        ),
        "it changes the turn rewards, which returns {returns!r} does not read; use parts.returns=reward-sum",
    ),
)
"""In the order in which they are asked."""


def refuse_contradictions(algorithm: Any, parts: Parts) -> None:
    """Raises ConfigError for the first part that needs what these parts, or this data, never have."""
    returns = ", ".join(part.name for part in parts["returns"])
    for part in (part for slot in parts.values() for part in slot):
        for rule in RULES:
            if rule.broken(part, parts, algorithm):
                reason = rule.reason.format(returns=returns)
                raise ConfigError(f"part {part.name!r} cannot stand in algorithm {algorithm.name!r}: {reason}")


def refuse_for_run(config: RunConfig, parts: Parts) -> None:
    """What the parts and the rest of a run's configuration rule out.   Raises ConfigError."""
    aligned = next((part.name for slot in parts.values() for part in slot if part.aligned), None)
    if aligned is not None and config.rollout.env_seed == "rollout":
        raise ConfigError(
            f"part {aligned!r} compares replies of a group token by token, and with rollout.env_seed rollout each "
            "rollout answers another prompt; use rollout.env_seed=task"
        )
