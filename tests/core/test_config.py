"""A configuration is resolved once, by layers; what cannot be is refused with its name."""

import json

import pytest

from agentrl.api import flag_layer, python_config, resolve_layers, set_layer
from agentrl.cli.reference import settings_reference
from agentrl.config import ModelConfig, RolloutConfig, RunConfig, TrainerConfig, ValidationConfig, resolve
from agentrl.errors import ConfigError, DataError, RunDirectoryError
from agentrl.models.defaults import is_model, model_defaults, model_of_run
from agentrl.settings import field_help, from_mapping, to_mapping
from tests.house.project import ROOT


def model(tmp_path, settings) -> str:
    (tmp_path / "model").mkdir(exist_ok=True)
    (tmp_path / "model" / "agentrl.json").write_text(settings if isinstance(settings, str) else json.dumps(settings))
    return str(tmp_path / "model")


def test_later_layers_win(tmp_path):
    name = model(tmp_path, {"format": "action", "memory": "window", "rollout": {"max_turns": 7, "group_size": 2}})
    file = {"model": {"name": name}, "memory": "full", "rollout": {"group_size": 3}}
    config = resolve_layers(file, set_layer(["rollout.group_size=5"]), flag_layer({"seed": 9, "algo": None}))
    assert config.format == "action", "the model's own, over the default"
    assert config.memory == "full", "the file, over the model's own"
    assert config.rollout.group_size == 5 and config.rollout.max_turns == 7 and config.seed == 9


@pytest.mark.parametrize("policy", ["random", "expert", "mine:Policy"])
def test_a_policy_that_is_no_model_meets_the_world_as_it_is_by_itself(tmp_path, policy):
    name = model(tmp_path, {"env_settings": {"admissible": False}, "rollout": {"max_turns": 7}})
    asked = {"env": "textworld", "model": name}
    config = python_config({}, None, asked, policy)
    assert config.env_settings == {} and config.rollout.max_turns == 7, "as long as the model's, to be comparable"
    assert python_config({}, None, asked).env_settings == {"admissible": False}
    assert python_config({}, None, asked, name).env_settings == {"admissible": False}
    assert python_config({"env_settings": {"levels": [1]}}, None, asked, policy).env_settings == {"levels": [1]}


def test_a_model_may_say_how_it_is_spoken_to_and_nothing_else(tmp_path):
    for settings, message in [
        ({"model": {"trust_remote_code": True}}, "a model may set only"),
        ({"format": "evil.module:Format"}, "may name only what is registered"),
        ({"rollout": {"max_turn": 3}}, "unknown setting 'rollout.max_turn'"),
        ("{", "is damaged"),
        ("[]", "must hold a group"),
    ]:
        with pytest.raises(DataError, match=message):
            model_defaults(model(tmp_path, settings))
    assert model_defaults(str(tmp_path)) == {} and model_defaults("no/such-model") == {}


def test_a_run_directory_stands_for_its_best_checkpoint(tmp_path):
    checkpoints = tmp_path / "checkpoints"
    checkpoints.mkdir()
    assert model_of_run(tmp_path) is None
    (tmp_path / "config.yaml").write_text("")
    with pytest.raises(RunDirectoryError, match="holds no checkpoint yet"):
        model_of_run(tmp_path)
    (checkpoints / "last.json").write_text('{"folder": "step-000002"}')
    assert model_of_run(tmp_path) == checkpoints / "step-000002"
    (checkpoints / "best.json").write_text('{"folder": "step-000001"}')
    assert resolve_layers({"model": {"name": str(tmp_path)}}).model.name == str(checkpoints / "step-000001")


def test_a_checkpoint_says_how_it_is_spoken_to_and_not_how_the_next_run_trains(tmp_path):
    folder = tmp_path / "checkpoints" / "step-000001"
    folder.mkdir(parents=True)
    (tmp_path / "config.yaml").write_text(
        "env: guess\nformat: action\nalgo: sft\nparts: {aggregate: trajectory-mean}\n"
        "rollout: {max_turns: 7, group_size: 1}\ntrainer: {optimiser: muon, muon_lr: 0.03, steps: 9}\n"
        "validation: {num_tasks: 0}\n"
    )
    config, default = resolve_layers({"model": {"name": str(folder)}}), RunConfig()
    assert (config.env, config.format, config.rollout.max_turns) == ("guess", "action", 7)
    assert (config.algo, config.parts, config.trainer) == (default.algo, default.parts, default.trainer)
    assert (config.validation, config.rollout.group_size) == (default.validation, default.rollout.group_size)


def test_what_is_a_model_and_what_is_not(tmp_path):
    assert all(map(is_model, ("tiny", "Qwen/Qwen2.5-1.5B-Instruct", str(tmp_path))))
    assert not any(map(is_model, ("random", "api:gpt", "api:http://x/y", "module:Policy")))


@pytest.mark.parametrize(
    ("assignments", "layer"),
    [
        (["trainer.lr=1e-5"], {"trainer": {"lr": "1e-5"}}),
        (["a.b=1", "a.c=[x, y]", "a.b=2"], {"a": {"b": 2, "c": ["x", "y"]}}),
        (["settings.ppo-clip.clip-high=0.28"], {"settings": {"ppo-clip": {"clip-high": 0.28}}}),
        (["memory="], {"memory": None}),
        (["run_dir=a=b"], {"run_dir": "a=b"}),
    ],
)
def test_set_is_read_as_yaml(assignments, layer):
    assert set_layer(assignments) == layer


@pytest.mark.parametrize("assignment", ["trainer.lr", "=1", "a..b=1", "a.=1"])
def test_a_set_that_is_no_assignment_is_told_so(assignment):
    with pytest.raises(ConfigError, match=r"is no assignment; write --set trainer.lr=1e-5"):
        set_layer([assignment])
    with pytest.raises(ConfigError, match="is no YAML"):
        set_layer(["a=[1"])


def test_a_flag_stands_for_its_setting():
    config = resolve(flag_layer({"model": "tiny", "lora": 8, "lr": 3e-4, "steps": 2, "out": "x", "threads": 1}))
    assert (config.model.lora, config.trainer.lr, config.trainer.steps, config.run_dir) == (8, 3e-4, 2, "x")
    assert resolve(flag_layer({"model": ModelConfig(lora=4), "rollout": {"max_turns": 2}})).model.lora == 4
    with pytest.raises(ConfigError, match="unknown setting 'stps'; did you mean 'steps'"):
        flag_layer({"stps": 3})


@pytest.mark.parametrize(
    ("cls", "settings", "message"),
    [
        (ModelConfig, {"lora": -1}, "lora is -1"),
        (RolloutConfig, {"temperature": -1}, "temperature is -1"),
        (RolloutConfig, {"top_p": 0}, "top_p is 0"),
        (RolloutConfig, {"max_context": 3}, "max_context is 3"),
        (RolloutConfig, {"step_seconds": 0}, "step_seconds is 0"),
        (RolloutConfig, {"group_size": 0}, "group_size is 0"),
        (TrainerConfig, {"steps": 0}, "steps is 0"),
        (TrainerConfig, {"betas": [0.9]}, "betas is"),
        (TrainerConfig, {"schedule": "cosin"}, "did you mean 'cosine'"),
        (ValidationConfig, {"every": -1}, "every is -1"),
    ],
)
def test_values_out_of_range_are_refused(cls, settings, message):
    with pytest.raises(ConfigError, match=message):
        from_mapping(cls, settings)


def test_the_default_configuration_survives_the_way_through_a_mapping():
    assert from_mapping(RunConfig, to_mapping(RunConfig())) == RunConfig()


@pytest.mark.parametrize("cls", [ModelConfig, RolloutConfig, TrainerConfig, ValidationConfig])
def test_every_setting_has_its_text(cls):
    assert set(field_help(cls)) == set(cls.__dataclass_fields__)


def test_the_reference_in_the_documentation_is_the_one_in_the_source():
    page = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")
    assert settings_reference() in page, "run: agentrl explain settings, and put it under the page's last heading"
