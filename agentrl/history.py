"""The turns so far, and what memories ask of them, found as the turns come: at any depth a turn costs the same."""

from collections.abc import Iterable, Sequence

from agentrl.types import Exchange, Turn


class History(list[Turn]):
    """A list of turns that is only appended to. All it holds beside them follows from them, whoever asks."""

    def __init__(self, turns: Iterable[Turn] = ()) -> None:
        super().__init__()
        self.exchanges: list[Exchange] = []
        """The acting turns, as a memory shows them."""
        self.report: str | None = None
        """Of the last readable acting turn that held one."""
        self.synthesis: str | None = None
        """Of the last readable summarise turn."""
        self.num_synthesised = 0
        """Acting turns before that one."""
        for turn in turns:
            self.append(turn)

    @property
    def question(self) -> str:
        """The first observation's text; empty before the first acting turn."""
        return self.exchanges[0].observation.text if self.exchanges else ""

    def append(self, turn: Turn) -> None:
        """Add the newest turn, which does not change any more."""
        super().append(turn)
        told = turn.report if turn.readable else None
        if turn.kind == "act":
            self.exchanges.append(Exchange(turn.observation, turn.completion.text, turn.action))
            self.report = self.report if told is None else told
        elif told is not None:
            self.synthesis, self.num_synthesised = told, len(self.exchanges)


def history_of(turns: Sequence[Turn]) -> History:
    """The turns with what follows from them; those of a runner's episode hold it already."""
    return turns if isinstance(turns, History) else History(turns)
