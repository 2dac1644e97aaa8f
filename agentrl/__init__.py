"""agentrl trains LLM agents by reinforcement learning in multi-turn environments.

Names are loaded on first use, so that `import agentrl` needs no torch, no transformers and no world.
"""

from agentrl._public import load_public

__all__ = [
    "Completion",
    "Env",
    "Observation",
    "Outcome",
    "Runner",
    "StepResult",
    "Task",
    "Trajectory",
    "Turn",
    "__version__",
    "evaluate",
    "train",
]

__getattr__ = load_public
