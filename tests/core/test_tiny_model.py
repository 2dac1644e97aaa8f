"""The tiny model: its tokenizer reads every sentence of the domain, its weights follow from the seed."""

import json
import os
from dataclasses import replace
from importlib.resources import files
from pathlib import Path

import pytest
import torch
import yaml
from transformers import AutoModelForCausalLM, AutoTokenizer

from agentrl.config import resolve
from agentrl.envs.alfworld.vocabulary import vocabulary
from agentrl.errors import ConfigError
from agentrl.models.tiny.build import SPECIAL, TinyShape, Vocabulary, build_tokenizer, random_tiny, token_list
from agentrl.prompts.report import ReportAndAction
from agentrl.prompts.tags import Tags
from agentrl.registry import load
from agentrl.types import Observation, Task, View

OPENING = (
    "-= Welcome to TextWorld, ALFRED! =-\n\nYou are in the middle of a room. Looking quickly around you, you see "
    "a cabinet 12, a fridge 1, and a sinkbasin 1.\n\nYour task is to: put a hot apple in fridge."
)
SENTENCES = (
    "You arrive at fridge 1. The fridge 1 is open. In it, you see a apple 3, a egg 1, and a pan 2.",
    "You arrive at cabinet 12. The cabinet 12 is closed.",
    "You open the cabinet 12. The cabinet 12 is open. In it, you see nothing.",
    "On the desk 1, you see a pen 2.",
    "You pick up the apple 3 from the fridge 1.",
    "You heat the apple 3 using the microwave 1.",
    "You are carrying: a apple 3.",
    "You are not carrying anything.",
    "You are facing the drawer 2, and drawer 1. Next to it, you see nothing.",
    "This is a cool and clean sliced tomato 1.",
    "There's nothing special about soapbar 2.",
    "You turn on the desklamp 1.",
    "Nothing happens.",
)
TASK_TYPES = (
    "pick_and_place_simple",
    "look_at_obj_in_light",
    "pick_clean_then_place_in_recep",
    "pick_heat_then_place_in_recep",
    "pick_cool_then_place_in_recep",
    "pick_two_obj_and_place",
)
COMMANDS = (
    "go to cabinet 12",
    "take apple 3 from fridge 1",
    "move apple 3 to countertop 2",
    "heat apple 3 with microwave 1",
    "slice bread 1 with butterknife 2",
    "open drawer 27",
    "use desklamp 1",
    "examine tissuebox 2",
    "inventory",
    "look",
)


@pytest.fixture(scope="module")
def tokenizer():
    return build_tokenizer(vocabulary())


def tokens_of(tokenizer, text):
    return tokenizer.convert_ids_to_tokens(tokenizer(text)["input_ids"])


def small(seed=0, **sizes):
    words = vocabulary()
    shape = TinyShape(width=16, layers=1, heads=2, head_width=8, feed_forward=16, **sizes)
    return random_tiny(words.phrases, words.words, seed, entities=words.entities, dropped=words.dropped, shape=shape)


@pytest.mark.parametrize("text", [OPENING, *SENTENCES, *COMMANDS])
def test_no_word_of_the_domain_is_unknown(tokenizer, text):
    assert tokenizer.unk_token_id not in tokenizer(text)["input_ids"]


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_comes_back_as_its_very_text(tokenizer, command):
    assert tokenizer.decode(tokenizer(command)["input_ids"]) == command


@pytest.mark.parametrize("form", [ReportAndAction(), Tags()], ids=lambda form: type(form).__name__)
def test_a_reply_in_the_form_of_a_format_comes_back_with_its_report_and_action(form):
    tokenizer = build_tokenizer(replace(vocabulary(), marks=form.marks))
    view = View(Task("alfworld", "t", "train", 0), "", Observation("You see a mug 1."), report="go to shelf 2")
    said = form.write("take mug 1 from shelf 2", view, report="go to shelf 2\nopen drawer 1")
    ids = tokenizer(said)["input_ids"]
    reply = form.parse(tokenizer.decode(ids), view)
    assert tokenizer.unk_token_id not in ids
    assert reply.action == "take mug 1 from shelf 2"
    assert reply.report in (None, "go to shelf 2 open drawer 1")
    shown = form.messages(view)[-1]["content"]
    assert tokenizer.unk_token_id not in tokenizer(shown)["input_ids"]


def test_every_type_of_the_game_tables_has_tokens():
    from alfworld.gen import constants

    named = {kind.lower() for kind in (*constants.OBJECTS_WSLICED, *constants.RECEPTACLES)}
    assert named <= set(vocabulary().entities) | set(vocabulary().words)


def test_every_goal_sentence_of_the_game_tables_is_known(tokenizer):
    from alfworld.gen.goal_library import gdict

    slots = {"obj": "apple", "recep": "fridge", "toggle": "desklamp", "mrecep": "bowl"}
    for task_type in TASK_TYPES:
        for template in gdict[task_type]["templates"]:
            assert tokenizer.unk_token_id not in tokenizer(template.format(**slots))["input_ids"], template


def test_every_word_of_the_grammar_is_known(tokenizer):
    from alfworld.info import ALFRED_TWL2_PATH

    sentences = [
        line.split('"rhs":')[1] for line in Path(ALFRED_TWL2_PATH).read_text().splitlines() if '"rhs":' in line
    ]
    assert len(sentences) > 40
    spoken = [s for s in sentences if not any(sign in s for sign in "{#[") and "ReceptacleObject" not in s]
    for sentence in spoken:
        text = sentence.strip().strip('"').replace("\\n", " ")
        assert tokenizer.unk_token_id not in tokenizer(text)["input_ids"], text


def test_a_number_beyond_the_table_is_read_as_word_and_number(tokenizer):
    assert tokens_of(tokenizer, "cabinet 31") == ["cabinet", "31"]
    assert tokens_of(tokenizer, "cabinet 30") == ["cabinet 30"]


def test_lists_leave_one_token_a_thing(tokenizer):
    text = "On the desk 1, you see a pen 2, a book 1, and a cd 3."
    assert tokens_of(tokenizer, text) == ["On the", "desk 1", "you see a", "pen 2", "book 1", "cd 3"]


def test_the_greeting_leaves_no_token(tokenizer):
    assert tokens_of(tokenizer, OPENING)[0] == "You are in the middle of a room"


def test_the_chat_template_is_append_only_and_ignores_the_system_message(tokenizer):
    messages = [
        {"role": "system", "content": "Play."},
        {"role": "user", "content": OPENING},
        {"role": "assistant", "content": "go to fridge 1"},
        {"role": "user", "content": SENTENCES[0]},
    ]
    first, whole = (tokenizer.apply_chat_template(messages[:n], tokenize=False) for n in (2, 4))
    assert first == f"<bos>{OPENING}<act>"
    assert whole == f"{first}go to fridge 1<end>{SENTENCES[0]}<act>"


def test_parts_of_a_message_are_joined(tokenizer):
    parts = [{"type": "text", "text": "Nothing"}, {"type": "text", "text": "happens."}]
    assert tokenizer.apply_chat_template([{"role": "user", "content": parts}], tokenize=False) == (
        "<bos>Nothing happens.<act>"
    )


def test_special_tokens_have_the_first_ids(tokenizer):
    assert tokenizer.convert_tokens_to_ids(list(SPECIAL)) == [0, 1, 2, 3, 4]
    assert (tokenizer.pad_token_id, tokenizer.unk_token_id, tokenizer.bos_token_id, tokenizer.eos_token_id) == (
        0,
        1,
        2,
        4,
    )


def test_the_same_seed_gives_the_same_weights_and_leaves_the_random_state_alone():
    state = torch.random.get_rng_state()
    first, second, other = small(seed=3)[0], small(seed=3)[0], small(seed=4)[0]
    assert torch.equal(torch.random.get_rng_state(), state)
    weights = [m.state_dict() for m in (first, second, other)]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
    assert not torch.equal(weights[0]["model.embed_tokens.weight"], weights[2]["model.embed_tokens.weight"])


def test_a_numbered_thing_starts_between_its_type_and_its_number():
    module, tokenizer = small()
    embedding = module.model.embed_tokens.weight
    thing, kind, number, else_ = (
        embedding[tokenizer.convert_tokens_to_ids(token)] for token in ("cabinet 3", "cabinet", "3", "fridge")
    )
    rest = thing - 0.7 * (kind + number)
    assert rest.norm() < 0.6 * thing.norm()
    assert (thing - 0.7 * (else_ + number)).norm() > rest.norm()


def test_alike_makes_queries_start_as_keys():
    def likeness(alike):
        attention = small(alike=alike)[0].model.layers[0].self_attn
        return torch.cosine_similarity(attention.q_proj.weight[:8].flatten(), attention.k_proj.weight.flatten(), dim=0)

    assert likeness(0.3) > 0.9
    assert likeness(0.0).abs() < 0.5


def test_a_saved_model_loads_with_transformers_and_is_small_enough_to_ship(tmp_path):
    words = vocabulary()
    module, tokenizer = random_tiny(words.phrases, words.words, 0, entities=words.entities, dropped=words.dropped)
    module.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    assert os.path.getsize(tmp_path / "model.safetensors") <= 4_000_000
    ids = tokenizer.apply_chat_template([{"role": "user", "content": OPENING}], return_tensors="pt")["input_ids"]
    again, reader = AutoModelForCausalLM.from_pretrained(tmp_path), AutoTokenizer.from_pretrained(tmp_path)
    assert reader.apply_chat_template([{"role": "user", "content": OPENING}])["input_ids"] == ids[0].tolist()
    with torch.no_grad():
        assert torch.equal(again(ids).logits, module(ids).logits)


def test_a_vocabulary_without_things_or_phrases_is_words_alone():
    tokenizer = build_tokenizer(Vocabulary(phrases=(), words=("higher", "lower", "guess")))
    assert tokens_of(tokenizer, "guess 12, higher!") == ["guess", "12", "<unk>", "higher", "<unk>"]
    assert len(tokenizer) == len(token_list(Vocabulary((), ("higher", "lower", "guess"))))


def test_sizes_that_cannot_be_are_refused():
    with pytest.raises(ConfigError, match="multiple of key_value_heads"):
        TinyShape(heads=4, key_value_heads=3)


TINY = Path(str(files("agentrl.models.tiny")))
SHIPPED = sorted(folder.name for folder in TINY.iterdir() if (folder / "config.json").is_file())


@pytest.mark.parametrize("world", SHIPPED)
def test_the_recipe_of_a_shipped_model_is_a_configuration_of_a_run(world):
    config = resolve(yaml.safe_load((TINY / f"{world}.yaml").read_text(encoding="utf-8")))
    assert (config.env, config.algo, config.model.name) == (world, "sft", "tiny-random")
    assert config.trainer.optimiser == "muon" and config.validation.split != "valid_unseen"


@pytest.mark.parametrize("world", SHIPPED)
def test_a_shipped_model_knows_its_worlds_words_and_has_the_settings_of_its_recipe(world):
    settings = json.loads((TINY / f"{world}.settings.json").read_text(encoding="utf-8"))
    assert json.loads((TINY / world / "agentrl.json").read_text(encoding="utf-8")) == settings
    tokenizer = json.loads((TINY / world / "tokenizer.json").read_text(encoding="utf-8"))
    assert set(token_list(load("env", world).vocabulary())) <= set(tokenizer["model"]["vocab"])
