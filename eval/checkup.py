"""The check-up of a run, in words: what is seen, what it means, what to do, and an episode that shows it.

A check is a pure function from `Evidence` to findings; one that has nothing to go by finds nothing. To add one, write
the function and name it in `CHECKS`. Every threshold is a constant beside its check and stands in docs/report.md.
"""

from collections.abc import Callable, Iterable

from agentrl.eval import checkup_episodes as episodes
from agentrl.eval import checkup_learning as learning
from agentrl.eval import checkup_preferences as preferences
from agentrl.eval import checkup_rewards as rewards
from agentrl.eval.checkup_evidence import SEVERITIES, Evidence, Finding

__all__ = ["CHECKS", "Evidence", "Finding", "check_up"]

CHECKS: tuple[Callable[[Evidence], Iterable[Finding]], ...] = (
    episodes.why_episodes_ended,
    episodes.invalid_turns,
    episodes.loops,
    learning.entropy,
    learning.groups_without_signal,
    rewards.what_the_reward_leaves_open,
    rewards.parts_of_the_score,
    preferences.displaced_likelihood,
    preferences.pairs_in_order,
    preferences.length_of_pairs,
    learning.length_drift,
    learning.sampler_and_trainer,
    episodes.infrastructure,
    learning.gradients,
    learning.skipped_updates,
    episodes.how_sure,
)
"""Every check, in the order in which findings of one severity are shown."""


def check_up(evidence: Evidence) -> list[Finding]:
    """Every finding of every check, the gravest first."""
    found = [finding for check in CHECKS for finding in check(evidence)]
    return sorted(found, key=lambda f: SEVERITIES.index(f.severity))
