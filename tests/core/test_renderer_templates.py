"""R4 on every real chat template: what was sampled stays, and continuing is what the template's own text says."""

import random

import pytest

from agentrl.types import Completion
from tests.core import chat_templates

PLAIN = "open it"
REASONED = "<think>\nnorth or south?\n</think>\n\n<action>open it</action>"
BLANKS = " open it \n"

CONTINUES = {  # which replies a template lets stand as they were: plain, reasoned, with blanks at the ends, cut off
    "cohere": (True, True, False, True),
    "cohere2": (True, True, True, True),
    "deepseek_r1_distill": (True, False, True, True),
    "deepseek_r1_distill_training": (True, True, True, True),
    "deepseekv3": (True, False, True, True),
    "gemma": (True, True, False, True),
    "gemma3": (True, True, False, True),
    "glm4moe": (True, False, False, True),
    "gptoss": (False, False, False, True),
    "idefics3": (True, True, True, True),
    "lfm2": (True, True, True, True),
    "llama3": (True, True, False, True),
    "llama3_1": (True, True, False, True),
    "llama3_2": (True, True, False, True),
    "llava_next": (True, True, True, True),
    "nemotron_3_nano": (False, False, False, False),
    "phi3": (True, True, True, True),
    "phi3_5": (True, True, True, True),
    "qwen2_5": (True, True, True, True),
    "qwen2_5_vl": (True, True, True, True),
    "qwen3": (True, False, True, True),
    "qwen3_5_nothink": (False, False, False, False),
    "qwen3_5_think": (True, False, False, True),
    "qwen3_instruct_2507": (True, True, True, True),
    "qwen3_training": (True, True, True, True),
    "qwen3_vl": (True, True, True, True),
    "smolvlm": (True, True, True, True),
}
EVERY = chat_templates.names()
PIECES = (
    "open", "it", "the drawer 2", " ", "\n", "é", "日本", "\U0001f525", "<think>", "</think>", "a", "{{ x }}",
    "{% if %}", "<action>", "\t", "  ", "\x00", "[INST]", "9",
)  # fmt: skip


def talk(renderer, replies, turns=3):
    """Play turns in which `replies(turn)` gives the sampled ids.   Yields (previous, sampled ids, prompt)."""
    messages = [{"role": "system", "content": "You are in a room."}, {"role": "user", "content": "What do you do?"}]
    prompt = renderer.render(messages)
    for turn in range(turns):
        sampled = list(replies(turn))
        previous = prompt
        messages = [
            *messages,
            {"role": "assistant", "content": renderer.decode(sampled)},
            {"role": "user", "content": f"Nothing happens, {turn}.\nWhat do you do?"},
        ]
        prompt = renderer.render(messages, None, previous, Completion("", sampled))
        yield previous, sampled, prompt


def cut_off(renderer, text):
    ids = list(renderer.reply_ids(text))
    while ids and ids[-1] in renderer._closers:
        ids.pop()
    return ids


def ids_of(renderer, text):
    """The whole text tokenised at once, as the tokenizer itself does it."""
    return tuple(renderer._tokenizer(text, add_special_tokens=False)["input_ids"])


def hold_the_rule(renderer, previous, sampled, prompt):
    before = previous.ids + tuple(sampled)
    said = renderer._tokenizer.decode(sampled, skip_special_tokens=False)
    assert prompt.continues == prompt.text.startswith(previous.text + said)
    if prompt.continues:
        assert prompt.ids == before + prompt.new_ids
        assert prompt.text == previous.text + said + renderer._tokenizer.decode(prompt.new_ids)
    else:
        assert prompt.ids == prompt.new_ids == ids_of(renderer, prompt.text)


def test_there_are_at_least_twelve_real_templates_of_ten_families():
    assert len(EVERY) >= 12
    assert {name.split("_")[0].rstrip("0123456789") for name in EVERY} >= {
        "cohere", "deepseek", "gemma", "glm4moe", "gptoss", "lfm", "llama", "nemotron", "phi", "qwen",
    }  # fmt: skip


@pytest.mark.parametrize("name", CONTINUES)
def test_which_replies_a_template_lets_continue_is_found_out(name):
    renderer = chat_templates.renderer_for(name)
    found = tuple(
        all(prompt.continues for _, _, prompt in talk(renderer, lambda turn, ids=ids: ids))
        for ids in (
            renderer.reply_ids(PLAIN),
            renderer.reply_ids(REASONED),
            renderer.reply_ids(BLANKS),
            cut_off(renderer, PLAIN),
        )
    )
    assert found == CONTINUES[name]


@pytest.mark.parametrize("name", EVERY)
def test_a_continued_prompt_is_the_old_one_the_sampled_ids_and_glue(name):
    renderer = chat_templates.renderer_for(name)
    chance = random.Random(name)

    def reply(turn):
        text = "".join(chance.choices(PIECES, k=chance.randint(0, 6)))
        return cut_off(renderer, text) if chance.random() < 0.3 else renderer.reply_ids(text)

    for previous, sampled, prompt in talk(renderer, reply, turns=8):
        hold_the_rule(renderer, previous, sampled, prompt)


@pytest.mark.parametrize("name", EVERY)
def test_canonical_replies_give_the_ids_of_the_templates_own_text(name):
    renderer = chat_templates.renderer_for(name)
    for _, _, prompt in talk(renderer, lambda turn: renderer.reply_ids("open the drawer 2")):
        assert prompt.ids == ids_of(renderer, prompt.text)
        assert renderer._tokenizer.decode(prompt.ids) == prompt.text


@pytest.mark.parametrize("name", EVERY)
def test_tokens_sampled_otherwise_than_the_tokenizer_splits_survive(name):
    renderer = chat_templates.renderer_for(name)
    canonical = renderer.reply_ids("open the drawer 2")
    by_letter = tuple(
        letter for i in canonical for letter in (ids_by_letter(renderer, i) if i not in renderer._added else (i,))
    )
    assert by_letter != canonical
    for (previous, sampled, prompt), (_, _, same) in zip(
        talk(renderer, lambda turn: by_letter), talk(renderer, lambda turn: canonical), strict=True
    ):
        hold_the_rule(renderer, previous, sampled, prompt)
        assert prompt.continues == same.continues and prompt.text == same.text
        if prompt.continues:
            assert prompt.ids[len(previous.ids) :][: len(by_letter)] == by_letter


def ids_by_letter(renderer, i):
    return [x for letter in renderer._tokenizer.decode([i]) for x in renderer._tokenizer(letter)["input_ids"]]


@pytest.mark.parametrize("name", EVERY)
def test_a_foreign_reply_is_read_back_and_ends_the_turn(name):
    renderer = chat_templates.renderer_for(name)
    for text in (PLAIN, "<action>go north</action>", "日本 é"):
        ids = renderer.reply_ids(text)
        assert renderer.decode(ids) == text
        assert ids[-1] == renderer.end_id and renderer.end_id in renderer.end_ids
        assert not set(ids[:-1]) & renderer.end_ids


@pytest.mark.parametrize("name", EVERY)
def test_the_beginning_of_text_is_written_once(name):
    renderer = chat_templates.renderer_for(name)
    bos = renderer._tokenizer.bos_token_id
    expected = int("bos_token" in chat_templates.source(name))
    for _, _, prompt in talk(renderer, lambda turn: renderer.reply_ids(PLAIN)):
        assert prompt.ids.count(bos) == expected
        assert not expected or prompt.ids[0] == bos


@pytest.mark.parametrize("name", EVERY)
def test_what_the_agent_is_told_is_in_every_prompt(name):
    renderer = chat_templates.renderer_for(name)
    for turn, (_, _, prompt) in enumerate(talk(renderer, lambda turn: renderer.reply_ids(PLAIN))):
        assert prompt.text.count("You are in a room.") == 1
        assert prompt.text.count("Nothing happens") == turn + 1
