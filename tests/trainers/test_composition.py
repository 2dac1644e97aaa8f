"""Composing: parts exchanged, settings given, contradictions refused before anything is loaded."""

import pytest
import torch

from agentrl.errors import ConfigError, UnknownName
from agentrl.registry import TABLES, load
from agentrl.trainers.algorithm import Algorithm, Part
from agentrl.trainers.algorithms.epo import EPO
from agentrl.trainers.algorithms.grpo import GRPO
from agentrl.trainers.algorithms.sft import SFT
from agentrl.trainers.composition import compose
from agentrl.trainers.step_view import Term
from tests.builders import view_of


def names(composition, slot):
    return [bound.part.name for bound in composition.slots[slot]]


@pytest.mark.parametrize("name", TABLES["part"])
def test_every_registered_part_is_where_the_registry_says_and_has_its_name(name):
    part = load("part", name)
    assert isinstance(part, Part)
    assert part.name == name


@pytest.mark.parametrize("name", TABLES["algorithm"])
def test_every_registered_algorithm_composes_and_cites(name):
    algorithm = load("algorithm", name)
    assert isinstance(algorithm, Algorithm)
    assert algorithm.name == name
    assert algorithm.citation
    rows = compose(algorithm).describe()
    assert [slot for slot, *_ in rows if slot in ("returns", "surrogate", "aggregate")] == [
        "returns",
        "surrogate",
        "aggregate",
    ]


def test_a_part_is_exchanged_by_its_name():
    composition = compose(GRPO, {"advantage": "leave_one_out", "aggregate": ["turn-mean"]})
    assert names(composition, "advantage") == ["leave-one-out"]
    assert names(composition, "aggregate") == ["turn-mean"]


def test_a_leading_plus_appends_and_a_plain_name_replaces():
    assert names(compose(EPO, {"regularisers": "+entropy-bonus"}), "regularisers") == [
        "epo-entropy",
        "epo-smoothing",
        "entropy-bonus",
    ]
    assert names(compose(EPO, {"regularisers": ["entropy-bonus"]}), "regularisers") == ["entropy-bonus"]


def test_a_part_of_ones_own_stands_beside_the_registered_ones():
    def bind(view, config, state):
        return Term(view.current.square(), weight=2.0)

    own = Part(name="own", kind="regulariser", bind=bind)
    composition = compose(GRPO, {"regularisers": [own]})
    view = view_of([[[1], [1]]], current=[1.0, 2.0], old=[1.0, 2.0], score=[1.0, 0.0])
    _, terms = composition.loss(composition.advantage(view))
    assert terms["own"] == pytest.approx(2.0 * 5 / 2)


def test_several_terms_of_one_part_are_shown_apart():
    both = Part(name="both", kind="surrogate", bind=lambda view, c, s: (Term(view.current), Term(-2 * view.current)))
    composition = compose(GRPO, {"surrogate": both})
    view = view_of([[[1]]], current=[3.0], advantage=[0.0])
    loss, terms = composition.loss(view)
    assert terms == {"both-1": 3.0, "both-2": -6.0}
    assert loss.item() == -3.0
    assert len(composition.terms(view)) == 2


@pytest.mark.parametrize(
    ("parts", "settings", "message"),
    [
        ({"surrogate": "kl"}, {}, "'kl' is of kind 'regulariser'; it belongs under parts.regularisers"),
        ({"advantages": "leave-one-out"}, {}, "did you mean 'advantage'"),
        ({"advantage": "+leave-one-out"}, {}, "holds one part"),
        ({"surrogate": None}, {}, "must be one part"),
        ({"regularisers": "+kl"}, {}, "'kl' stands twice"),
        ({"rewards": "invalid-action-penalty"}, {}, "parts.returns=reward-sum"),
        ({"advantage": None}, {}, "'ppo-clip' cannot stand in algorithm 'grpo': it needs an advantage"),
        ({"advantage": None, "surrogate": "likelihood", "modifiers": "engine-correction"}, {}, "needs an advantage"),
        ({}, {"ppo-clp": {"clip_low": 0.1}}, "did you mean 'ppo-clip'"),
        ({}, {"ppo-clip": {"clip_hihg": 0.1}}, "did you mean 'settings.ppo-clip.clip_high'"),
        ({}, {"ppo-clip": {"clip_high": -1}}, "clip_high is -1"),
        ({}, {"ppo-clip": 3}, "must be a group of settings"),
        ({}, {"entropy-bonus": {"coef": 0.1}}, "unknown setting"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_what_cannot_be_is_refused_with_the_reason(parts, settings, message):
    with pytest.raises(ConfigError, match=message):
        compose(GRPO, parts, settings)


def test_an_unknown_part_names_the_nearest():
    with pytest.raises(UnknownName, match="did you mean 'group-norm'"):
        compose(GRPO, {"advantage": "grup-norm"})


def test_demonstrations_have_no_log_probs_of_an_engine():
    with pytest.raises(ConfigError, match="demonstrations were not sampled"):
        compose(SFT, {"advantage": "raw-return", "modifiers": "engine-correction"})


def test_a_surrogate_for_pairs_is_refused_by_an_algorithm_of_trajectories():
    pairwise = Part(name="pairwise", kind="surrogate", bind=lambda view, c, s: None, needs=("pairs",))
    with pytest.raises(ConfigError, match="preference pairs"):
        compose(GRPO, {"surrogate": pairwise})


def test_settings_take_kebab_and_snake_case_and_go_before_the_algorithms_own():
    composition = compose(GRPO, settings={"ppo_clip": {"clip-high": 0.28, "dual_clip": 10}})
    config = composition.slots["surrogate"][0].config
    assert (config.clip_low, config.clip_high, config.dual_clip) == (0.2, 0.28, 10.0)


def test_a_term_that_is_off_needs_no_reference_and_is_shown_as_off():
    assert "reference" not in compose(GRPO).needs
    assert any(row[:2] == ("regularisers", "kl") and row[2].startswith("off") for row in compose(GRPO).describe())
    assert "reference" in compose(GRPO, settings={"kl": {"coef": 0.01}}).needs


def test_what_the_composition_meets_itself_is_not_asked_of_the_trainer():
    composition = compose(GRPO, {"returns": "reward-sum", "rewards": "invalid-action-penalty"})
    assert composition.needs == {"old"}


def test_rewards_are_added_before_returns_and_modifiers_come_last():
    parts = {"returns": "reward-sum", "rewards": "invalid-action-penalty", "modifiers": "engine-correction"}
    composition = compose(GRPO, parts, {"group-norm": {"std": False}})
    view = view_of(
        [[[1, 1], [1]]],
        reward=[0.0, 1.0, 0.0],
        valid=[False, True, True],
        old=[0.0, 0.0, 0.0],
        sampled=[0.0, 0.0, 50.0],
    )
    filled = composition.advantage(view)
    assert filled.reward.tolist() == [-0.1, 1.0, 0.0]
    assert filled.returns.tolist() == [0.9, 0.9, 0.0]
    assert filled.advantage.tolist() == pytest.approx([0.45, 0.45, 0.0], abs=1e-8)
    assert view.advantage is None


def test_selections_narrow_what_carries_loss_after_the_statistics():
    first = Part(name="first-token", kind="selection", bind=lambda view, c, s: torch.arange(view.num_tokens) == 0)
    composition = compose(GRPO, {"selections": [first]})
    view = composition.advantage(view_of([[[2], [1]]], score=[1.0, 0.0], trained=[True, True, True]))
    assert view.trained.tolist() == [True, False, False]
    assert composition.weights(view, "token").tolist() == [1.0, 0.0, 0.0]


def test_a_gate_lets_groups_with_signal_pass_and_without_gates_all_pass():
    view = view_of([[[1], [1]], [[1], [1]]], score=[1.0, 0.0, 1.0, 1.0])
    assert compose(GRPO).gate(view).tolist() == [True, True]
    assert compose(GRPO, {"gates": "signal"}).gate(view).tolist() == [True, False]


def test_states_have_stable_names_and_are_updated_once():
    class Counter:
        def __init__(self):
            self.updates = 0

        def update(self, view):
            self.updates += 1

        def state_dict(self):
            return {"updates": self.updates}

        def load_state_dict(self, state):
            self.updates = state["updates"]

    def bind(view, config, state):
        return Term(view.current * 0)

    shared = [
        Part(name=name, kind="regulariser", bind=bind, section="shared", state=Counter) for name in ("one", "two")
    ]
    composition = compose(GRPO, {"regularisers": shared})
    composition.update(view_of([[[1]]]))
    assert {name: state.state_dict() for name, state in composition.states().items()} == {
        "shared.Counter": {"updates": 1}
    }
    assert list(compose(EPO).states()) == ["epo.EntropyHistory"]
    assert compose(GRPO, {"regularisers": shared}).states()["shared.Counter"].updates == 0


def test_values_without_weight_do_not_enter_whatever_they_are():
    composition = compose(SFT)
    current = torch.tensor([-1.0, -torch.inf], dtype=torch.float64, requires_grad=True)
    loss, _ = composition.loss(view_of([[[2]]], current=current, trained=[True, False]))
    assert loss.item() == 1.0
    assert torch.autograd.grad(loss, current)[0].tolist() == [-1.0, 0.0]


def test_metrics_are_those_of_the_parts_that_run():
    composition = compose(GRPO)
    view = view_of([[[1], [1]]], score=[1.0, 0.0], current=[-1.0, -1.0], old=[-1.0, -1.0])
    assert composition.metrics(composition.advantage(view)) == {
        "advantage/groups_with_signal": 1.0,
        "ppo/clip_fraction": 0.0,
        "ppo/dual_clip_fraction": 0.0,
        "ppo/kl_from_old": 0.0,
    }
