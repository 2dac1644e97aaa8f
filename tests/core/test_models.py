"""Models come and go whole: loading, saving, adapters, the reference, and one-line errors for what is broken."""

import resource
import shutil
import signal
import warnings

import pytest
import torch

from agentrl.config import ModelConfig
from agentrl.errors import AgentRLError, ConfigError, DataError, MissingDependency
from agentrl.models.load import Model, check_head, load_model, output_head, save_model
from tests.models import random_module, tiny_model

IDS = torch.tensor([[0, 7, 9, 11, 5, 1]])


def logits(module: torch.nn.Module) -> torch.Tensor:
    with torch.no_grad():
        return module(IDS).logits


def shaken(module: torch.nn.Module, seed: int = 0) -> None:
    """Move every weight that can be trained a little, as an optimiser would."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in module.parameters():
            if weight.requires_grad:
                weight.add_(0.05 * torch.randn(weight.shape, generator=generator).to(weight))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A saved random model."""
    path = tmp_path_factory.mktemp("models") / "saved"
    save_model(tiny_model(), path, {"format": "action", "rollout": {"max_turns": 20}})
    return path


@pytest.mark.parametrize("architecture", ["qwen3", "qwen2", "llama"])
def test_a_saved_model_is_the_same_model(tmp_path, architecture):
    model = tiny_model(architecture=architecture)
    save_model(model, tmp_path / "saved")
    loaded = load_model(ModelConfig(name=str(tmp_path / "saved")))
    assert torch.equal(logits(loaded.module), logits(model.module))
    assert loaded.tokenizer.get_vocab() == model.tokenizer.get_vocab()
    assert loaded.tokenizer.chat_template == model.tokenizer.chat_template
    assert loaded.dtype == torch.float32 and loaded.device.type == "cpu" and loaded.version == 0


def test_transformers_alone_loads_a_saved_model(folder):
    from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig

    module = AutoModelForCausalLM.from_pretrained(folder, use_safetensors=True)
    assert torch.equal(logits(module), logits(load_model(ModelConfig(name=str(folder))).module))
    assert AutoTokenizer.from_pretrained(folder).encode("go left") == [7, 16]
    assert GenerationConfig.from_pretrained(folder).eos_token_id == [2]


def test_a_model_brings_the_settings_that_it_was_made_for(folder):
    loaded = load_model(ModelConfig(name=str(folder)))
    assert loaded.defaults == {"format": "action", "rollout": {"max_turns": 20}}


def test_saving_again_keeps_the_settings_and_leaves_nothing_beside(folder, tmp_path):
    loaded = load_model(ModelConfig(name=str(folder)))
    shaken(loaded.module)
    for _ in range(2):
        save_model(loaded, tmp_path / "again")
    assert [path.name for path in tmp_path.iterdir()] == ["again"]
    assert load_model(ModelConfig(name=str(tmp_path / "again"))).defaults == loaded.defaults


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float64"])
def test_weights_come_in_the_precision_that_is_asked_for(folder, dtype):
    loaded = load_model(ModelConfig(name=str(folder), dtype=dtype))
    assert {weight.dtype for weight in loaded.module.parameters()} == {getattr(torch, dtype)} == {loaded.dtype}


def test_loading_says_nothing(folder, capfd):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        load_model(ModelConfig(name=str(folder), lora=2))
    assert capfd.readouterr() == ("", "")


def test_the_head_turns_hidden_states_into_logits(folder):
    module = load_model(ModelConfig(name=str(folder))).module
    weight, bias = output_head(module)
    hidden = module.base_model(IDS).last_hidden_state
    assert bias is None and weight.shape == (64, 64)
    torch.testing.assert_close(hidden @ weight.T, module(IDS).logits)


def test_a_model_that_caps_or_scales_its_logits_is_refused_with_the_reason():
    with pytest.raises(ConfigError, match="final_logit_softcapping = 30"):
        check_head(random_module("gemma2"), "gemma2")
    with pytest.raises(ConfigError, match="logits_scaling = 4"):
        check_head(random_module("granite", logits_scaling=4.0), "granite")


def test_dropout_is_off_wherever_the_architecture_has_it(tmp_path):
    model = tiny_model(attention_dropout=0.5)
    save_model(model, tmp_path / "saved")
    loaded = load_model(ModelConfig(name=str(tmp_path / "saved")))
    loaded.module.train()
    assert torch.equal(logits(loaded.module), logits(loaded.module))
    assert loaded.module.config.attention_dropout == 0.0


def test_an_adapter_begins_as_the_base_and_the_base_stays_its_reference(folder):
    base = logits(load_model(ModelConfig(name=str(folder))).module)
    loaded = load_model(ModelConfig(name=str(folder), lora=4))
    assert torch.equal(logits(loaded.module), base)
    shaken(loaded.module)
    assert not torch.allclose(logits(loaded.module), base, atol=1e-2)
    with loaded.reference() as reference:
        assert torch.equal(logits(reference), base)
    assert not torch.allclose(logits(loaded.module), base, atol=1e-2)


def test_an_adapter_trains_few_weights_and_none_of_the_base(folder):
    loaded = load_model(ModelConfig(name=str(folder), lora=2))
    trained = [name for name, weight in loaded.module.named_parameters() if weight.requires_grad]
    assert trained and all("lora_" in name for name in trained)


def test_a_saved_adapter_is_merged_and_stands_beside_and_the_live_model_is_untouched(folder, tmp_path):
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    loaded = load_model(ModelConfig(name=str(folder), lora=4))
    shaken(loaded.module)
    before = {name: weight.clone() for name, weight in loaded.module.state_dict().items()}
    save_model(loaded, tmp_path / "merged")
    assert all(torch.equal(weight, before[name]) for name, weight in loaded.module.state_dict().items())
    merged = AutoModelForCausalLM.from_pretrained(tmp_path / "merged")
    torch.testing.assert_close(logits(merged), logits(loaded.module), atol=1e-4, rtol=1e-4)
    base = AutoModelForCausalLM.from_pretrained(folder)
    adapted = PeftModel.from_pretrained(base, tmp_path / "merged" / "adapter")
    torch.testing.assert_close(logits(adapted), logits(loaded.module), atol=1e-4, rtol=1e-4)


def test_an_adapter_without_peft_names_the_command(folder, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "peft", None)
    with pytest.raises(MissingDependency, match=r"pip install 'agentrl\[lora\]'"):
        load_model(ModelConfig(name=str(folder), lora=4))


def test_without_an_adapter_the_reference_is_a_frozen_copy(folder):
    loaded = load_model(ModelConfig(name=str(folder)))
    base = logits(loaded.module)
    with loaded.reference() as reference:
        assert not any(weight.requires_grad for weight in reference.parameters())
    shaken(loaded.module)
    with loaded.reference() as reference:
        assert torch.equal(logits(reference), base)


def test_a_reference_asked_for_late_is_loaded_again_or_refused(folder):
    loaded = load_model(ModelConfig(name=str(folder)))
    base = logits(loaded.module)
    shaken(loaded.module)
    loaded.version = 3
    with loaded.reference() as reference:
        assert torch.equal(logits(reference), base)
    with pytest.raises(ConfigError, match="before the weights change"), changed(tiny_model()).reference():
        pass


def changed(model: Model) -> Model:
    model.version = 1
    return model


def broken(folder, path, how):
    """A copy of a saved model with one fault."""
    shutil.copytree(folder, path)
    how(path)
    return path


def cut(name, share=0.5):
    def how(path):
        data = (path / name).read_bytes()
        (path / name).write_bytes(data[: int(len(data) * share)])

    return how


def overwrite(name, text):
    return lambda path: (path / name).write_text(text)


def without_a_weight(path):
    from safetensors.torch import load_file, save_file

    weights = load_file(path / "model.safetensors")
    weights.pop("model.layers.0.mlp.up_proj.weight")
    save_file(weights, path / "model.safetensors", {"format": "pt"})


FAULTS = {
    "weights cut in two": (cut("model.safetensors"), "damaged or incomplete"),
    "weights cut at the start": (cut("model.safetensors", 0.001), "damaged or incomplete"),
    "weights that are noise": (overwrite("model.safetensors", "noise" * 99), "damaged or incomplete"),
    "no weights": (lambda path: (path / "model.safetensors").unlink(), "damaged or incomplete"),
    "only a pickle": (lambda path: (path / "model.safetensors").rename(path / "pytorch_model.bin"), "damaged"),
    "a weight missing": (without_a_weight, "incomplete: 1 weights are missing, such as model.layers.0.mlp.up_proj"),
    "no config": (lambda path: (path / "config.json").unlink(), "damaged or incomplete"),
    "config cut": (cut("config.json"), "damaged or incomplete"),
    "tokenizer cut": (cut("tokenizer.json"), "damaged or incomplete"),
    "settings cut": (cut("agentrl.json"), "no JSON"),
    "unknown architecture": (overwrite("config.json", '{"model_type": "nothing"}'), "damaged or incomplete"),
}


@pytest.mark.parametrize(("how", "message"), FAULTS.values(), ids=FAULTS)
def test_a_damaged_model_is_an_error_in_one_line(folder, tmp_path, how, message):
    path = broken(folder, tmp_path / "broken", how)
    with pytest.raises(DataError, match=message) as caught:
        load_model(ModelConfig(name=str(path)))
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 500


@pytest.mark.parametrize("name", ["./no/such/folder", "/no/such/folder", "no-one/has-this-model", "a/b/c"])
def test_a_model_that_is_nowhere_is_an_error_in_one_line(name):
    with pytest.raises(DataError, match="folder") as caught:
        load_model(ModelConfig(name=name))
    assert "\n" not in str(caught.value)


def test_a_tiny_model_that_was_never_made_names_the_command():
    with pytest.raises(DataError, match="make tiny-model"):
        load_model(ModelConfig(), "no-such-env")


def test_a_device_that_is_not_there_is_an_error(folder):
    with pytest.raises(AgentRLError, match=r"model\.device is 'abacus'"):
        load_model(ModelConfig(name=str(folder), device="abacus"))


def test_a_full_disk_leaves_the_old_model_and_no_scraps(folder, tmp_path):
    path = broken(folder, tmp_path / "model", lambda _: None)
    model = tiny_model(seed=1)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    # Files may not grow beyond this many bytes: writing fails as it does on a full disk.
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limits[1]))
    try:
        with pytest.raises(DataError, match="could not be written"):
            save_model(model, path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, before)
    assert [p.name for p in tmp_path.iterdir()] == ["model"]
    assert torch.equal(logits(load_model(ModelConfig(name=str(path))).module), logits(tiny_model().module))
