"""Every random choice is seeded here: the same names give the same seed on any machine, in any order of execution."""

import hashlib


def seed_of(*parts: str | int) -> int:
    """A seed in [0, 2**63) from what it is for, as in `seed_of(run_seed, task.id, rollout, turn)`.

    Parts are told apart by type and place: ("1", 2) and (1, "2") give different seeds.
    """
    text = "\x1f".join(f"{type(part).__name__}:{part}" for part in parts)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1
