"""The renderer's particular cases: cut-off replies, blanks, dates, roles, images, cost."""

import hypothesis
import pytest
from hypothesis import strategies as st

from agentrl.errors import ConfigError, PolicyFailure
from agentrl.models.renderer import Renderer
from agentrl.types import Completion
from tests.core import chat_templates
from tests.models import word_tokenizer

SMALL = (
    "{{ bos_token }}{% for m in messages %}{% if m.role == 'user' %}{{ m.content }}<act>"
    "{% elif m.role == 'assistant' %}{{ m.content }}<end>{% endif %}{% endfor %}"
)
"""What our small models use: no system message, a user's text ends with <act>, a reply with <end>."""


def user(content):
    return {"role": "user", "content": content}


def assistant(content):
    return {"role": "assistant", "content": content}


def system(content):
    return {"role": "system", "content": content}


def small():
    return Renderer(chat_templates.tokenizer(SMALL, "<end>", ("<act>", "<end>")))


def step(renderer, messages, sampled, observation="and now?"):
    """One turn: the first prompt and the one after `sampled`, which the messages hold as the renderer reads it."""
    first = renderer.render(messages)
    later = [*messages, assistant(renderer.decode(sampled)), user(observation)]
    return first, renderer.render(later, None, first, Completion("", list(sampled)))


def test_the_small_models_template_by_hand():
    tokenizer = word_tokenizer()
    tokenizer.chat_template = SMALL
    renderer = Renderer(tokenizer)
    bos, act, end, look, door, go, left = tokenizer.convert_tokens_to_ids(
        ["<bos>", "<act>", "<end>", "look", "door", "go", "left"]
    )
    first, second = step(renderer, [system("ignored"), user("look door")], [go, left, end], "door")
    assert renderer.end_id == end and renderer.end_ids == {end}
    assert first.ids == first.new_ids == (bos, look, door, act) and not first.continues
    assert second.new_ids == (door, act) and second.continues
    assert second.ids == (bos, look, door, act, go, left, end, door, act)
    assert renderer.reply_ids("go left") == (go, left, end)
    assert renderer.decode([go, left, end]) == "go left"


def test_the_end_token_that_the_template_adds_after_a_cut_off_is_glue():
    renderer = chat_templates.renderer_for("qwen2_5")
    sampled = renderer.reply_ids("open it")[:-1]
    _, second = step(renderer, [user("a room")], sampled)
    assert second.continues and second.new_ids[0] == renderer.end_id


def test_the_newline_after_the_end_token_is_glue():
    renderer = chat_templates.renderer_for("qwen2_5")
    _, second = step(renderer, [user("a room")], renderer.reply_ids("open it"))
    assert second.continues
    assert renderer._tokenizer.decode(second.new_ids).startswith("\n<|im_start|>user\nand now?<|im_end|>\n")


def test_a_reply_cut_off_inside_a_letter_keeps_its_ids():
    renderer = chat_templates.renderer_for("qwen2_5")
    sampled = renderer.reply_ids("open \U0001f525")[:-2]
    assert renderer.decode(sampled).endswith("�")
    first, second = step(renderer, [user("a room")], sampled)
    assert second.continues and second.ids[: len(first.ids) + len(sampled)] == first.ids + sampled


def test_an_end_token_that_the_template_does_not_write_opens_a_new_sequence():
    renderer = Renderer(chat_templates.tokenizer(chat_templates.source("qwen2_5"), "<|endoftext|>"))
    assert renderer.end_ids == set(renderer._tokenizer.convert_tokens_to_ids(["<|im_end|>", "<|endoftext|>"]))
    other = renderer._tokenizer.eos_token_id
    sampled = (*renderer.reply_ids("open it")[:-1], other)
    assert renderer.decode(sampled) == "open it"
    _, second = step(renderer, [user("a room")], sampled)
    assert not second.continues and other not in second.ids


def test_an_empty_reply_continues():
    renderer = small()
    first, second = step(renderer, [user("a room")], [renderer.end_id])
    assert second.continues and second.ids[: len(first.ids) + 1] == (*first.ids, renderer.end_id)
    _, second = step(renderer, [user("a room")], [])
    assert second.continues and second.new_ids[0] == renderer.end_id


def test_other_messages_than_before_open_a_new_sequence():
    renderer = small()
    first = renderer.render([user("a room")])
    sampled = Completion("", list(renderer.reply_ids("go")))
    replaced = renderer.render([user("the room"), assistant("go"), user("now?")], None, first, sampled)
    unsaid = renderer.render([user("a room"), assistant("look"), user("now?")], None, first, sampled)
    assert not replaced.continues and not unsaid.continues
    assert replaced.ids == replaced.new_ids


def test_special_tokens_inside_a_reply_stay_and_continue():
    renderer = small()
    sampled = (*renderer.reply_ids("go")[:-1], *renderer._tokenizer.convert_tokens_to_ids(["<act>", "<s>", "<end>"]))
    assert renderer.decode(sampled) == "go<act><s>"
    first, second = step(renderer, [user("a room")], sampled)
    assert second.continues and second.ids[len(first.ids) :][: len(sampled)] == sampled


@hypothesis.given(st.lists(st.tuples(st.lists(st.integers(0, 419), max_size=12), st.booleans(), st.text(max_size=20))))
@hypothesis.settings(max_examples=60)
def test_any_ids_whatever_survive_every_later_turn(turns):
    renderer = chat_templates.renderer_for("qwen2_5")
    messages, prompt, expected = [user("a room")], renderer.render([user("a room")]), []
    for drawn, ended, observation in turns:
        ids = [i for i in drawn if i not in renderer.end_ids]  # a reply ends at the first of these
        sampled = [*ids, renderer.end_id] if ended else ids
        messages = [*messages, assistant(renderer.decode(sampled)), user(observation)]
        following = renderer.render(messages, None, prompt, Completion("", sampled))
        expected = [*prompt.ids, *sampled]
        assert following.continues
        assert list(following.ids[: len(expected)]) == expected
        assert following.ids[len(expected) :] == following.new_ids
        prompt = following


def test_glue_behind_a_token_that_takes_blanks_is_tokenised_as_in_the_whole():
    from tokenizers import AddedToken

    tokenizer = chat_templates.tokenizer_for("phi3")
    tokens = ["<|end|>", "<|user|>", "<|assistant|>"]
    tokenizer.add_tokens([AddedToken(t, rstrip=True, normalized=False, special=True) for t in tokens])
    renderer = Renderer(tokenizer)
    for sampled in (renderer.reply_ids("open it"), renderer.reply_ids("open it")[:-1]):
        _, second = step(renderer, [user("a room")], sampled)
        assert second.continues
        assert list(second.ids) == tokenizer(second.text, add_special_tokens=False)["input_ids"]


def sentencepiece(template):
    """A tokenizer of the Llama 2 kind: words begin with ▁, and decoding drops a blank at the beginning."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    core = Tokenizer(models.BPE(unk_token="<unk>"))
    core.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first")
    core.decoder = decoders.Metaspace(prepend_scheme="first")
    lines = [*chat_templates.LINES, "[INST] a [/INST]"] * 4
    core.train_from_iterator(lines, trainers.BpeTrainer(vocab_size=300, special_tokens=["<unk>"], show_progress=False))
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=core, bos_token="<s>", eos_token="</s>", unk_token="<unk>", additional_special_tokens=["<s>"]
    )
    tokenizer.chat_template = template
    return tokenizer


def test_a_tokenizer_that_drops_the_first_blank_in_decoding_continues():
    template = (
        "{{ bos_token }}{% for m in messages %}{% if m.role == 'user' %}{{ '[INST] ' + m.content + ' [/INST]' }}"
        "{% elif m.role == 'assistant' %}{{ ' ' + m.content + '</s>' }}{% endif %}{% endfor %}"
    )
    renderer = Renderer(sentencepiece(template))
    sampled = renderer.reply_ids("go to the drawer")
    assert renderer.lead == " " and renderer.decode(sampled) == "go to the drawer"
    _, second = step(renderer, [user("a room")], sampled, "see")
    assert second.continues
    assert list(second.ids) == renderer._tokenizer(second.text, add_special_tokens=False)["input_ids"]


def test_the_tokenizers_own_bos_is_not_added_to_the_templates():
    from tokenizers.processors import TemplateProcessing

    tokenizer = chat_templates.tokenizer_for("llama3")
    bos = tokenizer.bos_token_id
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(single="<s> $A", special_tokens=[("<s>", bos)])
    assert tokenizer("open")["input_ids"][0] == bos
    renderer = Renderer(tokenizer)
    _, second = step(renderer, [user("a room")], renderer.reply_ids("open it"))
    assert second.ids.count(bos) == 1 and second.ids[0] == bos


def test_a_system_message_that_is_refused_goes_in_front_of_the_first_users():
    renderer = chat_templates.renderer_for("gemma")
    prompt = renderer.render([system("Be brief."), user("a room"), assistant("go"), user("now?")])
    assert "<start_of_turn>user\nBe brief.\n\na room<end_of_turn>" in prompt.text


def test_two_messages_of_one_role_are_joined_where_the_template_wants_roles_to_alternate():
    joined = chat_templates.renderer_for("cohere2").render([user("a room"), user("a door")])
    apart = chat_templates.renderer_for("qwen2_5").render([user("a room"), user("a door")])
    assert "a room\n\na door" in joined.text
    assert "a room<|im_end|>\n<|im_start|>user\na door" in apart.text


def test_a_date_in_a_prompt_is_always_the_same_one():
    renderer = chat_templates.renderer_for("llama3_2")
    assert "Today Date: 01 Jan 2026" in renderer.render([user("a room")]).text


def test_a_reply_begins_inside_the_reasoning_that_the_prompt_opened():
    renderer = chat_templates.renderer_for("deepseek_r1_distill_training")
    assert renderer.opening == "<think>\n"
    sampled = renderer.reply_ids("<think>\nnorth\n</think>\n\nopen it")
    assert renderer.decode(sampled) == "north\n</think>\n\nopen it"
    _, second = step(renderer, [user("a room")], sampled)
    assert second.continues and second.text.count("<think>") == 2


def test_the_channel_that_a_model_writes_in_is_not_part_of_the_reply():
    renderer = chat_templates.renderer_for("gptoss")
    sampled = renderer.reply_ids("open it")
    assert renderer._tokenizer.decode(sampled) == "<|channel|>final<|message|>open it<|return|>"
    assert renderer.decode(sampled) == "open it"


def test_a_reply_that_the_template_refuses_is_shown_without_its_control_tokens():
    renderer = chat_templates.renderer_for("gptoss")
    refused = "<|channel|>analysis<|message|>north<|end|>open it"
    prompt = renderer.render([user("a room"), assistant(refused), user("now?")])
    assert "analysisnorthopen it" in prompt.text


def test_a_conversation_that_the_template_refuses_is_a_policy_failure():
    with pytest.raises(PolicyFailure, match="chat template"):
        chat_templates.renderer_for("gemma3").render([assistant("go"), user("a room")])


@pytest.mark.parametrize(
    ("template", "message"),
    [(None, "no chat template"), ("{{ raise_exception('never') }}", "never"), ("hello", "leaves out")],
)
def test_a_template_that_cannot_be_used_is_refused_at_once(template, message):
    tokenizer = chat_templates.tokenizer("")
    tokenizer.chat_template = template
    with pytest.raises(ConfigError, match=message):
        Renderer(tokenizer)


def test_further_end_ids_are_those_of_the_generation_config():
    tokenizer = chat_templates.tokenizer_for("llama3_1")
    eom = 7
    assert Renderer(tokenizer, end_ids=[eom]).end_ids == {eom, tokenizer.eos_token_id}


class Counting:
    """A tokenizer that counts the letters it is given."""

    def __init__(self, tokenizer):
        self._tokenizer, self.letters = tokenizer, 0

    def __call__(self, text, **settings):
        self.letters += len(text)
        return self._tokenizer(text, **settings)

    def __getattr__(self, name):
        return getattr(self._tokenizer, name)


def test_only_the_glue_is_tokenised_however_long_the_episode_is():
    tokenizer = Counting(chat_templates.tokenizer_for("qwen2_5"))
    renderer = Renderer(tokenizer)
    sampled = renderer.reply_ids("open it")
    messages = [user("a room " * 500)]
    prompt, letters = renderer.render(messages), []
    for turn in range(30):
        messages = [*messages, assistant("open it"), user(f"a drawer {turn + 10}")]
        tokenizer.letters = 0
        prompt = renderer.render(messages, None, prompt, Completion("", list(sampled)))
        letters.append(tokenizer.letters)
    assert prompt.continues and set(letters) == {letters[0]} and letters[0] < 150


def test_what_was_said_before_is_not_tokenised_again():
    tokenizer = Counting(chat_templates.tokenizer_for("qwen2_5"))
    renderer = Renderer(tokenizer)
    messages = [user("a room")]
    first = renderer.render(messages), renderer.reply_ids("open it"), renderer.distinct_replies(("go", "open it", "go"))
    tokenizer.letters = 0
    again = renderer.render(messages), renderer.reply_ids("open it"), renderer.distinct_replies(("go", "open it", "go"))
    assert again == first and tokenizer.letters == 0
    assert again[2] == (renderer.reply_ids("go"), renderer.reply_ids("open it"))


class Processor:
    """A vision model's processor, as far as the renderer looks at it."""

    def __init__(self, template):
        self.chat_template, self.image_token = template, "<|image_pad|>"


def with_images():
    template = chat_templates.source("qwen2_5_vl")
    return Renderer(chat_templates.tokenizer(template, "<|im_end|>"), Processor(template), image_tokens=len)


def picture(image, text):
    return user([{"type": "image", "image": image}, {"type": "text", "text": text}])


def test_an_image_takes_as_many_ids_as_the_model_gives_it():
    renderer = with_images()
    place = renderer._tokenizer.convert_tokens_to_ids("<|image_pad|>")
    first = renderer.render([picture(b"12345", "a screen")])
    assert first.ids.count(place) == 5 and len(first.images) == 1
    sampled = renderer.reply_ids("open it")
    later = [picture(b"12345", "a screen"), assistant("open it"), picture(b"678", "a menu")]
    second = renderer.render(later, None, first, Completion("", list(sampled)))
    assert second.continues and second.new_ids.count(place) == 3 and second.ids.count(place) == 8
    assert second.images[:1] == first.images and len(second.images) == 2


def test_another_image_in_the_same_place_opens_a_new_sequence():
    renderer = with_images()
    first = renderer.render([picture(b"12345", "a screen")])
    later = [picture(b"54321", "a screen"), assistant("open it"), user("now?")]
    assert not renderer.render(later, None, first, Completion("", list(renderer.reply_ids("open it")))).continues


def test_a_world_that_spells_an_image_place_gets_none():
    renderer = with_images()
    prompt = renderer.render([user("look: <|image_pad|>"), assistant("<|image_pad|>"), picture(b"12", "<|image_pad|>")])
    assert prompt.ids.count(renderer._tokenizer.convert_tokens_to_ids("<|image_pad|>")) == 2


def test_images_for_a_model_without_eyes_are_refused():
    with pytest.raises(ConfigError, match="takes none"):
        chat_templates.renderer_for("qwen2_5_vl").render([picture(b"12", "a screen")])
