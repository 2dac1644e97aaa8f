"""What the single-turn world can be told."""

from dataclasses import dataclass
from typing import Literal

from agentrl.envs.rlvr.puzzles import KINDS, LEVELS
from agentrl.envs.rlvr.questions import Limits
from agentrl.errors import nearest
from agentrl.settings import require

GENERATED = "generated"
"""Of `data`: the puzzles."""


@dataclass(frozen=True, kw_only=True)
class Config:
    """Settings of the single-turn world."""

    kinds: tuple[str, ...] = tuple(KINDS)
    """Which kinds of puzzles there are."""
    levels: tuple[int, ...] = (1, 2, 3)
    """How hard they are, from 1 to 5: every kind has as many of each."""
    num_train: int | None = None
    """Questions of the training split; null: 2000 puzzles, or all that the data hold."""
    num_valid: int | None = None
    """Questions of each of the other splits; null: 200 puzzles, or all that the data hold."""
    format_share: float = 0.0
    """Share of the score that an answer of the right form earns, right or wrong."""
    data: str = GENERATED
    """Questions of one's own: a file, a folder, reasoning-gym:NAME, or module:function; generated: the puzzles."""
    prompt_column: str = ""
    """Column of the question; empty: prompt, question, problem, or another usual name."""
    answer_column: str = ""
    """Column of the right answer; empty: answer, final_answer, solution, or another usual name."""
    kind_column: str = ""
    """Column by which results are broken down; empty: kind, subject, type, category, or the file's name."""
    difficulty_column: str = ""
    """Column of the difficulty; empty: difficulty or level, where there is one."""
    split_column: str = ""
    """Column of the split; empty: split where there is one, else the file's name, else a hash of the question."""
    split: Literal["", "train", "valid", "test"] = ""
    """Split of all rows that do not say theirs; empty: by a hash of the question."""
    verifier: str = "auto"
    """How answers are judged: a verifier's name, or module:function; auto: as the row says, or by how it looks."""
    form: Literal["auto", "boxed", "hashes", "plain"] = "auto"
    """How an answer is marked: boxed (in \\\\boxed{}), hashes (behind ####), plain; auto: by the verifier."""
    strict_form: bool = False
    """Only an answer in the form that was asked for counts."""
    instructions: str = ""
    """What the agent is told before a question from data, in place of the world's own words."""
    worked_solutions: bool = False
    """The expert writes down the data's worked solution, where there is one, before the answer."""
    bad_rows: Literal["refuse", "skip"] = "refuse"
    """A row without a question, or with an answer that cannot be verified: refuse the data, or skip the row."""
    verify_seconds: float = 2.0
    """Processor time of one verification by math, regex, reasoning-gym; the clock's may be ten times as long."""
    verify_memory: float = 1.0
    """GiB that such a verification may hold."""
    verify_workers: int = 0
    """Processes for them; 0: one a core, at most 8."""
    unsafe_local_exec: bool = False
    """Run a model's programs without a sandbox where none can be had: they may then do whatever your account may."""

    def __post_init__(self) -> None:
        for kind in self.kinds:
            require(kind in KINDS, f"kinds has {kind!r}{nearest(kind, KINDS)} (known: {', '.join(KINDS)})")
        for level in self.levels:
            require(level in LEVELS, f"levels has {level}; it must be from {LEVELS[0]} to {LEVELS[-1]}")
        require(bool(self.kinds and self.levels), "kinds and levels must not be empty")
        for name in ("num_train", "num_valid"):
            number = getattr(self, name)
            require(number is None or number >= 1, f"{name} is {number}; it must be at least 1")
        require(0 <= self.format_share < 1, f"format_share is {self.format_share}; it must be from 0 to below 1")
        require(self.verify_seconds > 0, f"verify_seconds is {self.verify_seconds}; it must be above 0")
        require(self.verify_memory >= 0.25, f"verify_memory is {self.verify_memory}; it must be at least 0.25")
        require(self.verify_workers >= 0, f"verify_workers is {self.verify_workers}; it must not be negative")

    @property
    def generated(self) -> bool:
        """Are the questions puzzles."""
        return self.data in ("", GENERATED)

    @property
    def limits(self) -> Limits:
        """Of one verification."""
        return Limits(
            seconds=self.verify_seconds,
            memory=self.verify_memory,
            workers=self.verify_workers,
            strict=self.strict_form,
            unsafe=self.unsafe_local_exec,
        )
