"""The export to Inspect's logs, against the schema that Inspect publishes and against the episodes it was made of."""

import dataclasses
import json
import zipfile
from pathlib import Path

import pytest

from agentrl.cli.main import main
from agentrl.errors import ConfigError, DataError
from agentrl.eval.inspect_log import write_inspect_log
from agentrl.records import write_trajectories
from agentrl.types import Completion, Observation, Outcome, Task, Trajectory, Turn
from tests.eval.report_runs import episode

SCHEMAS = json.loads((Path(__file__).parent / "data" / "inspect_log_schema.json").read_text())
TYPES = {"string": str, "integer": int, "number": (int, float), "boolean": bool, "object": dict, "array": list}
IMAGE = b"\x89PNG one"


def faults(value, schema, at="log"):
    """Where a value is not as a schema says; what the schema does not name is a fault too."""
    if "$ref" in schema:
        return faults(value, SCHEMAS[schema["$ref"]], at)
    if "anyOf" in schema:
        found = [faults(value, choice, at) for choice in schema["anyOf"]]
        return min(found, key=len)
    if "const" in schema or "enum" in schema:
        return [] if value in schema.get("enum", [schema.get("const")]) else [f"{at}: {value!r}"]
    kind = schema.get("type")
    if kind == "null":
        return [] if value is None else [f"{at}: not null"]
    if kind and (not isinstance(value, TYPES[kind]) or (isinstance(value, bool) and kind != "boolean")):
        return [f"{at}: {type(value).__name__}, not {kind}"]
    if kind == "array":
        return [f for n, item in enumerate(value) for f in faults(item, schema.get("items", {}), f"{at}[{n}]")]
    if kind != "object":
        return []
    named, rest = schema.get("properties", {}), schema.get("additionalProperties", not schema.get("properties"))
    found = [f"{at}: no {name}" for name in schema.get("required", ()) if name not in value]
    for name, inner in value.items():
        if name in named or isinstance(rest, dict):
            found += faults(inner, named.get(name, rest), f"{at}.{name}")
        elif not rest:
            found.append(f"{at}: what is {name}")
    return found


def turn(position, seen, completion, **fields):
    known = {"action": "go", "readable": True, "valid": True, "reward": 0.0, "seconds": {"policy": 0.5, "world": 0.25}}
    return Turn(position, seen, [], False, completion, **(known | fields))


def api_episode():
    """Of a model behind an API: thoughts, a tool call, an image, a synthesis, an unreadable reply, a reward."""
    call = '<tool_call>{"name": "search", "arguments": {"query": "a"}}</tool_call>'
    paid = {"prompt_tokens": 90, "cached_tokens": 30, "output_tokens": 20, "reasoning_tokens": 5, "cost": 0.25}
    room = Observation("a room \ud800", images=(IMAGE,))
    turns = [
        turn(0, Observation("Find a."), Completion(f"I look.\n{call}", reasoning="hm", **paid), action=call),
        turn(1, room, Completion("so far: a", **paid), kind="summarise", report="so far: a", action=""),
        turn(2, room, Completion("no form", finish="length", **paid), readable=False, valid=False, action=""),
        turn(
            3, Observation("a room again"), Completion("<action>take a</action>", **paid), reward=1.0, action="take a"
        ),
    ]
    outcome = Outcome(True, 2.5, "a", {"found": 1.0})
    task = Task("chain", "t/1", "valid", 7, "easy", 0.5)
    return Trajectory(task, "valid/0", 0, turns, Observation("Done."), outcome, "done", source="api", policy="api:fake")


def evaluation(folder, episodes):
    """The folder of an evaluation."""
    folder.mkdir(parents=True)
    config = {"env": "chain", "memory": "full", "format": "tags", "seed": 0, "rollout": {"max_turns": 2, "top_p": 1.0}}
    start = {"time": "2026-01-02T03:04:05+0000", "environment": {"versions": {"agentrl": "0.1.0"}}}
    results = {"schema": 1, "policy": "api:fake", "seconds": 60.0, "panel": "p", "settings": {"temperature": 0.5}}
    for name, content in (("config.yaml", config), ("meta.json", {"starts": [start]}), ("results.json", results)):
        (folder / name).write_text(json.dumps(content))
    write_trajectories(folder / "trajectories" / "step-000000.jsonl.gz", episodes)
    return folder


def exported(tmp_path, episodes, form=".json"):
    run = evaluation(tmp_path / "run", episodes)
    target = tmp_path / f"log{form}"
    assert write_inspect_log(run, target) == len(episodes)
    return target


def log_of(tmp_path, episodes):
    log = json.loads(exported(tmp_path, episodes).read_text())
    assert faults(log, {"$ref": "EvalLog"}) == []
    return log


def test_the_validator_finds_what_is_wrong():
    assert faults({"message": "x", "traceback": 1, "colour": ""}, SCHEMAS["EvalError"]) == [
        "log: no traceback_ansi",
        "log.traceback: int, not string",
        "log: what is colour",
    ]


def test_an_episode_of_an_api_keeps_thoughts_calls_rewards_and_usage(tmp_path):
    log = log_of(tmp_path, [api_episode()])
    (sample,) = log["samples"]
    assert [message["role"] for message in sample["messages"]] == [
        *("user", "assistant", "tool"),  # the task, a call, what it brought
        *("user", "assistant", "assistant"),  # asked for a synthesis, it, and a reply that answers the same observation
        *("user", "assistant", "user"),
    ]
    _, called, result, _, synthesis, unread, _, last, _ = sample["messages"]
    assert called["content"][0] == {"type": "reasoning", "reasoning": "hm", "redacted": False}
    assert called["content"][1]["text"] == "I look." and result["tool_call_id"] == called["tool_calls"][0]["id"]
    assert called["tool_calls"][0]["arguments"] == {"query": "a"} and result["function"] == "search"
    assert (
        result["content"][0]["image"].startswith("data:image/png;base64,") and "\ufffd" in result["content"][1]["text"]
    )
    told = [message["metadata"]["agentrl"] for message in (called, synthesis, unread, last)]
    assert [(t["turn"], t["kind"], t["readable"], t["reward"]) for t in told] == [
        (0, "act", True, 0.0),
        (1, "summarise", True, 0.0),
        (2, "act", False, 0.0),
        (3, "act", True, 1.0),
    ]
    assert told[1]["report"] == "so far: a" and told[3]["action"] == "take a" and told[0]["seconds"]["policy"] == 0.5
    one = {"input_tokens": 60, "input_tokens_cache_read": 30, "output_tokens": 20, "reasoning_tokens": 5}
    assert told[0]["usage"] == one | {"total_tokens": 110, "total_cost": 0.25}
    four = {name: 4 * number for name, number in told[0]["usage"].items()}
    assert sample["model_usage"] == log["stats"]["model_usage"] == {"api:fake": four}
    assert {name: score["value"] for name, score in sample["scores"].items()} == {
        "success": 1.0,
        "score": 2.5,
        "reward": 1.0,
    }
    assert sample["scores"]["success"]["answer"] == "a" and sample["scores"]["score"]["metadata"] == {"found": 1.0}
    assert sample["turn_count"] == 3 and sample["working_time"] == 3.0 and sample["metadata"]["kind"] == "easy"


def test_repeats_are_epochs_and_infrastructure_failures_are_errors_without_a_score(tmp_path):
    episodes = [
        episode("a"),
        episode("a", success=False),
        episode("b", ended="policy_failure", failure="the host is gone"),
        episode("b", success=False, ended="turn_limit"),
    ]
    log = log_of(tmp_path, episodes)
    assert [(s["id"], s["epoch"]) for s in log["samples"]] == [("a", 1), ("a", 2), ("b", 1), ("b", 2)]
    assert log["eval"]["config"]["epochs"] == 2 and log["eval"]["dataset"]["sample_ids"] == ["a", "b"]
    failed, cut = log["samples"][2:]
    assert failed["error"]["message"] == "policy_failure: the host is gone" and "scores" not in failed
    assert cut["limit"]["type"] == "turn" and "error" not in cut and cut["scores"]["success"]["value"] == 0.0
    assert log["results"]["total_samples"] == 4 and log["results"]["completed_samples"] == 3
    success = log["results"]["scores"][0]
    assert (success["scored_samples"], success["unscored_samples"]) == (3, 1)
    assert success["metrics"]["mean"]["value"] == pytest.approx(1 / 3)
    assert 0 < success["metrics"]["low_95"]["value"] < 1 / 3 < success["metrics"]["high_95"]["value"]
    assert [(s["sample_id"], s["value"]) for s in log["reductions"][0]["samples"]] == [("a", 0.5), ("b", 0.0)]


def test_an_unknown_price_is_no_cost_and_not_0(tmp_path):
    cheap = api_episode()
    cheap.turns[0].completion.cost = None
    log = log_of(tmp_path, [cheap, dataclasses.replace(api_episode(), rollout=1)])
    assert "total_cost" not in log["samples"][0]["model_usage"]["api:fake"]
    assert log["samples"][1]["model_usage"]["api:fake"]["total_cost"] == 1.0
    assert "total_cost" not in log["stats"]["model_usage"]["api:fake"]


def test_a_policy_with_ids_counts_the_whole_prompt_of_every_turn(tmp_path):
    log = log_of(tmp_path, [episode("a", ("look", "take"))])
    first, second = (
        m["metadata"]["agentrl"]["usage"] for m in log["samples"][0]["messages"] if m["role"] == "assistant"
    )
    assert (first["input_tokens"], first["output_tokens"]) == (1, 2)
    assert (second["input_tokens"], second["output_tokens"]) == (1 + 2 + 1, 2)  # it continues


def test_the_archive_holds_the_same_log_a_file_a_sample(tmp_path):
    episodes = [api_episode(), episode("b", ended="world_failure", failure="gone")]
    whole = log_of(tmp_path, episodes)
    with zipfile.ZipFile(exported(tmp_path / "zip", episodes, ".eval")) as archive:
        parts = {name: json.loads(archive.read(name)) for name in archive.namelist()}
    samples = [parts.pop(f"samples/{sample['id']}_epoch_1.json") for sample in whole["samples"]]
    assert [s["messages"] for s in samples] == [s["messages"] for s in whole["samples"]]
    assert all(faults(summary, {"$ref": "EvalSampleSummary"}) == [] for summary in parts.pop("summaries.json"))
    assert faults(parts["header.json"], {"$ref": "EvalLog"}) == [] and "samples" not in parts["header.json"]
    assert set(parts) == {"header.json", "_journal/start.json", "reductions.json"}


def test_the_command_writes_a_new_file_and_says_so(tmp_path, capsys):
    run = evaluation(tmp_path / "run", [episode("a")])
    target = tmp_path / "log.eval"
    assert main(["export", str(run), str(target), "--inspect"]) == 0
    assert "1 episodes written to" in capsys.readouterr().out and target.exists()
    assert main(["export", str(run), str(target), "--inspect"]) != 0
    assert "name a new file" in capsys.readouterr().err


def test_what_cannot_be_exported_says_why(tmp_path):
    run = evaluation(tmp_path / "run", [episode("a")])
    with pytest.raises(ConfigError, match="neither .json nor .eval"):
        write_inspect_log(run, tmp_path / "log.csv")
    write_trajectories(run / "trajectories" / "step-000000.jsonl.gz", [])
    with pytest.raises(DataError, match="no judged episodes"):
        write_inspect_log(run, tmp_path / "log.json")
    (tmp_path / "matrix.json").write_text("{}")
    with pytest.raises(DataError, match="holds 1 evaluations, and a log is of one; name one, as .*run"):
        write_inspect_log(tmp_path, tmp_path / "log.json")
