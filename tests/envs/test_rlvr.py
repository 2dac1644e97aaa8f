"""The single-turn world: its puzzles are judged exactly, whatever an agent says."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentrl.envs import rlvr
from agentrl.envs.rlvr.puzzles import KINDS, LEVELS, Puzzle, expression, value_of
from agentrl.errors import ConfigError, WorldFailure
from agentrl.models.tiny.build import UNKNOWN, build_tokenizer
from tests.envs.episodes import play

PANEL = rlvr.tasks("train", rlvr.Config(levels=LEVELS, num_train=450))


def said(task, answer, **settings):
    _, (result,), outcome = play(rlvr.Env(rlvr.Config(**settings)), task, [answer])
    return result, outcome


def judged(puzzle: Puzzle, answer: str) -> bool:
    kind = KINDS[puzzle.kind]
    canonical = kind.canonical(answer)
    return canonical is not None and kind.right(puzzle, canonical)


def test_every_kind_and_level_is_asked_and_solved():
    assert {(t.data.kind, t.data.level) for t in PANEL} == {(kind, level) for kind in KINDS for level in LEVELS}
    assert all(judged(task.data, task.data.answer) for task in PANEL)


def test_a_question_belongs_to_one_split():
    asked = {split: {t.data.question for t in rlvr.tasks(split)} for split in rlvr.SPLITS}
    assert all(not asked[a] & asked[b] for a, b in (("train", "valid"), ("train", "test"), ("valid", "test")))
    assert [len(asked[split]) for split in rlvr.SPLITS] == [2000, 200, 200]


@pytest.mark.parametrize(
    ("question", "answer", "right"),
    [
        (Puzzle("sort", 1, "", "1 2 3"), "1, 2,3", True),
        (Puzzle("sort", 1, "", "1 2 3"), " 1  2 03 ", True),
        (Puzzle("sort", 1, "", "1 2 3"), "1 3 2", False),
        (Puzzle("sum", 1, "", "12"), "12", True),
        (Puzzle("sum", 1, "", "12"), "1 2", False),
        (Puzzle("sum", 1, "", "12"), "the answer is 12", False),
        (Puzzle("brackets", 1, "", "] )"), "])", True),
        (Puzzle("brackets", 1, "", "] )"), ") ]", False),
        (Puzzle("countdown", 2, "", "", (24, 4, 6)), "6*4", True),
        (Puzzle("countdown", 2, "", "", (24, 4, 6, 2)), "(2 + 4) * 6", False),
        (Puzzle("countdown", 2, "", "", (24, 4, 4, 6)), "4 * (4 + 2)", False),
        (Puzzle("countdown", 2, "", "", (24, 4, 6)), "24", False),
        (Puzzle("countdown", 2, "", "", (24, 4, 6)), "__import__('os').getcwd()", False),
        (Puzzle("countdown", 2, "", "", (24, 4, 6)), "6 ** 4", False),
        (Puzzle("countdown", 2, "", "", (24, 4, 6)), "(" * 30 + "24", False),
    ],
)
def test_an_answer_is_judged_by_what_it_says(question, answer, right):
    assert judged(question, answer) is right


@given(st.text(max_size=60))
def test_no_answer_breaks_a_verifier(text):
    for kind, rule in KINDS.items():
        task = next(t for t in PANEL if t.kind == kind)
        canonical = rule.canonical(text)
        assert canonical is None or rule.canonical(canonical) == canonical
        assert judged(task.data, text) in (True, False)


@given(
    st.recursive(
        st.integers(0, 99).map(str),
        lambda e: st.tuples(e, st.sampled_from("+-*"), e).map("({0[0]} {0[1]} {0[2]})".format),
        max_leaves=8,
    )
)
def test_an_expression_comes_to_what_arithmetic_says(text):
    tokens = expression(text)
    assert tokens is None or value_of(tokens.split()) == arithmetic(text)


def arithmetic(text):
    """By Python's own parser, on texts that the test made."""
    import ast
    import operator

    signs = {ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul}

    def value(node):
        if isinstance(node, ast.Constant):
            return node.value
        return signs[type(node.op)](value(node.left), value(node.right))

    return value(ast.parse(text, mode="eval").body)


def test_a_blind_guess_has_the_form_of_an_answer_and_is_seldom_right():
    panel = rlvr.tasks("valid")
    guesses = [(task, rlvr.guess(task, seed)) for seed, task in enumerate(panel)]
    verdicts = [KINDS[task.kind].canonical(said) for task, said in guesses]
    assert None not in verdicts and guesses == [(task, rlvr.guess(task, seed)) for seed, task in enumerate(panel)]
    right = [KINDS[task.kind].right(task.data, said) for (task, _), said in zip(guesses, verdicts, strict=True)]
    assert 0 < sum(right) < 0.2 * len(right)


def test_the_form_of_an_answer_can_earn_a_share():
    task = next(t for t in PANEL if t.kind == "sum")
    wrong = str(int(task.data.answer) + 1)
    assert said(task, wrong)[1].score == 0.0
    result, outcome = said(task, wrong, format_share=0.2)
    assert outcome.score == result.reward == 0.2 and not outcome.success
    assert outcome.components == {"correct": 0.0, "format": 1.0} and outcome.answer == wrong
    result, outcome = said(task, "no idea", format_share=0.2)
    assert outcome.score == 0.0 and not result.valid and outcome.answer == ""
    assert said(task, task.data.answer, format_share=0.2)[1].score == 1.0


def test_difficulty_rises_with_the_level():
    assert {(t.data.level, t.difficulty) for t in PANEL} == {(level, (level - 1) / 4) for level in LEVELS}


def test_a_tiny_model_knows_every_word():
    tokenizer = build_tokenizer(rlvr.vocabulary())
    for task in PANEL:
        for text in (task.data.question, task.data.answer):
            ids = tokenizer(text, add_special_tokens=False).input_ids
            assert tokenizer.convert_tokens_to_ids(UNKNOWN) not in ids, text
        assert tokenizer.decode(tokenizer(task.data.answer, add_special_tokens=False).input_ids) == task.data.answer


def test_what_cannot_be_is_refused():
    with pytest.raises(ConfigError, match="did you mean 'sort'"):
        rlvr.Config(kinds=("sorted",))
    with pytest.raises(ConfigError, match="levels has 9"):
        rlvr.Config(levels=(9,))
    with pytest.raises(ConfigError, match="no split 'dev'"):
        rlvr.tasks("dev")
    with pytest.raises(WorldFailure, match="call reset first"):
        asyncio.run(rlvr.Env().step("1"))
