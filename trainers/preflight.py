"""What is asked of a configuration before anything heavy is loaded."""

from agentrl.config import RunConfig
from agentrl.contradictions import refuse_for_run
from agentrl.errors import ConfigError
from agentrl.logged_data import data_files
from agentrl.settings import require
from agentrl.trainers.composition import Composition


def check_before_loading(config: RunConfig, composition: Composition) -> None:
    """Refuse what cannot be trained, with the reason, before anything heavy is loaded.   Raises ConfigError."""
    rollout, learns_from = config.rollout, composition.algorithm.learns_from
    refuse_for_run(config, composition.parts)
    if "demonstrations" in composition.needs:
        if config.data:
            data_files(config.data)
            require(not config.demonstrations, "data and demonstrations exclude each other; give one of them")
        return
    require(
        not config.data or learns_from != "episodes",
        f"algorithm {config.algo!r} plays its own episodes; data is for those that learn from others', as sft and dpo "
        "(a world's own data are env_settings.data)",
    )
    require(bool(config.data) or learns_from != "data", f"algorithm {config.algo!r} learns from data; name a file")
    require(
        bool(config.guidance) == ("guidance" in composition.needs),
        f"algorithm {config.algo!r} is guided by a model; name it, as guidance=runs/dpo/checkpoints/step-000100"
        if "guidance" in composition.needs
        else f"guidance is {config.guidance!r}, and no part of algorithm {config.algo!r} reads such a model",
    )
    if config.data:
        data_files(config.data)
        return
    if rollout.top_p < 1 or rollout.top_k:
        raise ConfigError(
            "rollout.top_p and rollout.top_k cut the distribution that is sampled from, and the log-probs of the "
            "trainer would be biased; train with top_p 1 and top_k 0 (they may be used in `agentrl eval`)"
        )
    if rollout.temperature == 0:
        raise ConfigError("rollout.temperature is 0; a greedy policy explores nothing: train at a temperature above 0")
