"""An algorithm's parts at work on a batch: gate, advantage, terms and loss; and the states that a checkpoint holds."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor

from agentrl.composition import Composition as Resolved
from agentrl.composition import compose_parts
from agentrl.errors import ConfigError
from agentrl.models.head import Probe
from agentrl.registry import load
from agentrl.trainers.algorithm import Algorithm, Couples, Part, Rehearsal, State
from agentrl.trainers.step_view import Channels, Credit, Level, Pairs, StepView, Term
from agentrl.types import Trajectory

Measure = Callable[[StepView, Sequence[Probe]], Mapping[str, Tensor]]
"""The numbers of some probes, with the view that they read of."""
_WIDTH: Mapping[str, int] = {"token": 0, "turn": 1, "group": 2, "batch": 3}


@dataclass(frozen=True)
class Bound:
    """A part with its settings and its state."""

    part: Part
    config: Any
    state: State | None

    def __call__(self, view: StepView) -> Any:
        return self.part.bind(view, self.config, self.state)

    @property
    def couples(self) -> Couples:
        couples = self.part.couples
        return couples(self.config) if callable(couples) else couples

    @property
    def probes(self) -> tuple[Probe, ...]:
        probes = self.part.probes
        return probes(self.config, self.state) if callable(probes) else probes

    @property
    def sampled_probes(self) -> tuple[Probe, ...]:
        probes = self.part.sampled_probes
        return probes(self.config, self.state) if callable(probes) else probes


def _distinct(probes: Iterable[Probe]) -> tuple[Probe, ...]:
    """Each once, in the order in which they are met.   Raises ConfigError for two that give the same number."""
    found = tuple(dict.fromkeys(probes))
    names = [name for probe in found for name in probe.names]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise ConfigError(f"two parts read {twice!r} from the logits with other settings; exchange one of them")
    return found


@dataclass(frozen=True)
class Composition:
    """What the trainer runs; made by `compose`. Views given to it are of the whole batch, on every rank the same."""

    resolved: Resolved
    """The parts by slot, with their settings: what `agentrl explain` shows."""
    slots: Mapping[str, tuple[Bound, ...]]
    """The parts that are not switched off, in order."""

    @property
    def algorithm(self) -> Algorithm:
        return cast(Algorithm, self.resolved.algorithm)

    @property
    def parts(self) -> Mapping[str, tuple[Part, ...]]:
        """slot -> the parts that are not switched off, in order."""
        return {slot: tuple(bound.part for bound in bounds) for slot, bounds in self.slots.items()}

    @property
    def needs(self) -> frozenset[str]:
        """What the trainer has to compute or provide."""
        return self.resolved.needs

    @property
    def couples(self) -> Couples:
        """The widest of what the terms couple; up to `group`, one pass gives the gradient of two."""
        terms = (*self.slots["surrogate"], *self.slots["regularisers"])
        return max((bound.couples for bound in terms), key=lambda couples: _WIDTH[couples])

    @property
    def probes(self) -> tuple[Probe, ...]:
        """What the terms read from the logits of the current policy."""
        return _distinct(probe for bound in self for probe in bound.probes)

    @property
    def sampled_probes(self) -> tuple[Probe, ...]:
        """What parts read from the logits at the rollout's version, but for what they read with a view's fields."""
        return _distinct(probe for bound in self for probe in bound.sampled_probes if not probe.reads)

    @property
    def every_probe(self) -> tuple[Probe, ...]:
        """Both: what a pass reads that stands for the rollout's version and for the first update."""
        return _distinct((*self.sampled_probes, *self.probes))

    def __iter__(self) -> Iterator[Bound]:
        return (bound for slot in self.slots.values() for bound in slot)

    def states(self) -> dict[str, State]:
        """What the parts remember, by a name that stays: `section.Class`."""
        return {
            f"{bound.part.settings_section}.{type(bound.state).__name__}": bound.state
            for bound in self
            if bound.state is not None
        }

    def _with_returns(self, view: StepView) -> StepView:
        reward, score = view.reward, view.score
        for bound in self.slots["rewards"]:
            if bound.part.adds_to == "turn":
                reward = reward + bound(view)
            else:
                score = score + bound(view)
        view = view.with_fields(reward=reward, score=score)
        (returns,) = self.slots["returns"]
        return view.with_fields(returns=returns(view))

    def paired(self, view: StepView) -> StepView:
        """The view with reward and returns filled, and with pairs where there is a pairing."""
        view = self._with_returns(view)
        for bound in self.slots["pairing"]:
            made: Pairs = bound(view)
            view = view.with_fields(pairs=made.pairs, pair_weight=made.weight)
        return view

    async def rewrite(self, trajectories: Sequence[Trajectory], rehearsal: Rehearsal) -> list[Trajectory]:
        """The step's episodes as the rewrites leave them, group by group."""
        groups: dict[str, list[Trajectory]] = {}
        for trajectory in trajectories:
            groups.setdefault(trajectory.group, []).append(trajectory)
        rewritten = list(groups.values())
        for bound in self.slots["rewrites"]:
            rewritten = await bound.part.bind(rewritten, rehearsal, bound.config, bound.state)
        return [trajectory for group in rewritten for trajectory in group]

    def gate(self, view: StepView) -> Tensor:
        """Which groups enter the batch: those that every gate lets pass.   Returns [G] bool; without gates all."""
        passed = torch.ones(view.num_groups, dtype=torch.bool)
        if not self.slots["gates"]:
            return passed
        with_returns = self._with_returns(view)
        for bound in self.slots["gates"]:
            passed = passed & bound(with_returns)
        return passed

    def advantage(self, view: StepView, measure: Measure | None = None) -> StepView:
        """The view with reward, returns, pairs and advantage filled, and `trained` as the selections leave it.

        view: as the batch was built, with `old` and `sampled` where parts need them; `reward` is the world's alone.
        measure: takes a forward pass for probes that read fields of the view.
        To be called once a step, before the first update. Without an advantage part (SFT) that field stays None.
        Raises ConfigError where a part needs log-probs of the sampling engine and the episodes have none.
        """
        self._refuse_text_from_elsewhere(view)
        for state in self.states().values():
            if hasattr(state, "observe"):
                state.observe(view)
        view = self.paired(view)
        for bound in self.slots["advantage"]:
            view = _credited(view, bound(view))
        for bound in self.slots["modifiers"]:
            view = _on_every_channel(bound, self._measured(view, bound, measure))
        trained = view.trained
        for bound in self.slots["selections"]:
            view = self._measured(view, bound, measure)
            trained = trained & bound(view)
        return view.with_fields(trained=trained)

    def _measured(self, view: StepView, bound: Bound, measure: Measure | None) -> StepView:
        late = [probe for probe in bound.sampled_probes if probe.reads]
        if not late:
            return view
        assert measure is not None, f"part {bound.part.name!r} reads the logits once the advantage is known"
        return view.with_fields(sampled_probes={**view.sampled_probes, **measure(view, late)})

    def _refuse_text_from_elsewhere(self, view: StepView) -> None:
        reading = next((bound.part.name for bound in self if "sampled" in bound.part.needs), None)
        if reading is not None and view.sampled is None and view.num_tokens:
            raise ConfigError(
                f"part {reading!r} needs the log-probs of the engine that sampled, and these episodes have none: text "
                "from elsewhere (source api, logged, demonstration) can be learned with algorithm sft, preferences "
                "with dpo; a run's own episodes keep theirs where tokenizer, template, memory and format are the run's"
            )

    def named_terms(self, view: StepView) -> list[tuple[str, Term]]:
        """The loss's summands with the names of their parts, the surrogate's first."""
        named = []
        for bound in (*self.slots["surrogate"], *self.slots["regularisers"]):
            terms = _as_list(bound(view))
            if view.second_advantage is not None and bound.part.kind == "surrogate" and "advantage" in bound.part.needs:
                terms += _as_list(bound(view.with_fields(advantage=view.second_advantage)))
            numbers = [""] if len(terms) == 1 else [f"-{i + 1}" for i in range(len(terms))]
            named += [(bound.part.name + number, term) for number, term in zip(numbers, terms, strict=True)]
        return named

    def terms(self, view: StepView) -> list[Term]:
        """The loss's summands; view: with `current` and `advantage`, and whatever else the parts need."""
        return [term for _, term in self.named_terms(view)]

    def weights(self, view: StepView, level: Level, aggregate: str | None = None) -> Tensor:
        """What each value of a level counts, [N], [U], [J] or [P].   aggregate: a name; None: the algorithm's."""
        (own,) = self.slots["aggregate"]
        if aggregate is None or aggregate == own.part.name:
            return cast(Tensor, own.part.bind(view, level, own.config))
        part = load("part", aggregate)
        return cast(Tensor, part.bind(view, level, part.config() if part.config else None))

    def loss(self, view: StepView, weigh: Callable[[Term], Tensor] | None = None) -> tuple[Tensor, dict[str, float]]:
        """Sum over the terms of weight * sum(aggregate's weights * values); and each summand by its part's name.

        weigh: the weights of a term's values, where `view` is a piece of the batch: an aggregate is over the whole.
        Values whose weight is 0 do not enter, whatever they are.
        """
        live = view.current if view.judged is None else view.judged
        assert live is not None
        total = (live[:0] * 1.0).sum()
        shown = {}
        for name, term in self.named_terms(view):
            over = view if term.of is None else view.with_fields(trained=view.trained & term.of)
            weights = weigh(term) if weigh else self.weights(over, term.level, term.aggregate)
            counted = weights.detach() != 0
            summand = term.weight * (weights[counted].detach() * term.values[counted]).sum()
            total = total + summand
            shown[name] = float(summand.detach())
        return total, shown

    def metrics(self, view: StepView) -> dict[str, float]:
        """What the parts show of a step; view: one of which the loss was taken.   docs/metrics.md explains each."""
        shown: dict[str, float] = {}
        for bound in self:
            if bound.part.metrics is not None:
                shown |= bound.part.metrics(view, bound.config, bound.state)
        return shown

    def update(self, view: StepView) -> None:
        """Let every state learn from the step: once, after its last optimiser step, with the data of all ranks (R9)."""
        for state in self.states().values():
            state.update(view)

    def describe(self) -> list[tuple[str, str, str]]:
        """(slot, part, its settings), a row a part: what `agentrl explain` prints."""
        return self.resolved.describe()


def _as_list(result: Term | Sequence[Term]) -> list[Term]:
    return [result] if isinstance(result, Term) else list(result)


def _on_every_channel(modifier: Bound, view: StepView) -> StepView:
    """The view with its advantage modified, and the second one as if it stood alone."""
    second = view.second_advantage
    if second is not None:
        second = modifier(view.with_fields(advantage=second, second_advantage=None)).detach()
    return view.with_fields(advantage=modifier(view).detach(), second_advantage=second)


def _credited(view: StepView, result: Tensor | Credit | Channels) -> StepView:
    """The view with what an advantage part gave: the advantage, and with a critic what the values are to become."""
    if isinstance(result, Tensor):
        return view.with_fields(advantage=result.detach())
    if isinstance(result, Channels):
        return view.with_fields(advantage=result.first.detach(), second_advantage=result.second.detach())
    field = {"token": "value_target", "turn": "turn_value_target"}[result.level]
    return view.with_fields(advantage=result.advantage.detach(), **{field: result.value_target.detach()})


def compose(
    algorithm: Algorithm, parts: Mapping[str, Any] | None = None, settings: Mapping[str, Any] | None = None
) -> Composition:
    """An algorithm with parts exchanged and set, ready to run; nothing is loaded but the parts themselves.

    parts: {slot: name, Part, or a list of them}; a leading + appends.   settings: {section: {setting: value}}.
    Raises UnknownName for a part that is not registered, ConfigError for what cannot be (`compose_parts`).
    """
    return bind(compose_parts(algorithm, parts or {}, settings or {}))


def bind(resolved: Resolved) -> Composition:
    """The composition that the core resolved, with fresh states: one a class, shared by the parts that name it."""
    states: dict[type, State] = {}

    def bound(part: Part) -> Bound:
        config = resolved.settings_of(part)
        if part.state is not None and part.state not in states:
            states[part.state] = part.state() if config is None else part.state(config)
        return Bound(part, config, states[part.state] if part.state is not None else None)

    slots = {
        slot: tuple(bound(part) for part in standing if part.name not in resolved.idle)
        for slot, standing in resolved.parts.items()
    }
    composition = Composition(resolved, slots)
    assert composition.every_probe is not None  # two parts that disagree are refused here, before anything is loaded
    return composition
