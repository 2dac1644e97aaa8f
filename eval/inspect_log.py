"""Writes the episodes of an evaluation, or of a run's last judgement, as a log that `inspect view` opens.

    ours                                     in the log
    a task; its episodes                     a sample's id; its epochs 1, 2, ...
    observation, reply, thoughts             user (or tool) message, assistant message, its reasoning
    <tool_call>...</tool_call> of a reply    a tool call; the observation after it is that tool's message
    a turn's action, reward, marks, usage    metadata of the assistant message, under "agentrl"
    outcome: success, score; reward          scores of the sample
    infrastructure failure                   error of the sample, which then has no scores
    turn, token and context limit            limit of the sample

The messages are the episode as it went; what a memory showed of it at each turn may have been less. Times of single
messages are not on record, so the log has no events. A price that is not known is absent, never 0.
Source of the format: the schema that Inspect publishes (inspect_ai/_view/inspect-openapi.json), log version 2; names of
files inside `.eval` after its recorder. Nothing of Inspect is needed to write a log.
"""

import base64
import hashlib
import io
import json
import math
import os
import re
import zipfile
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from statistics import fmean
from typing import Any

from agentrl.errors import ConfigError, DataError
from agentrl.eval.report_data import RunRecord, lookup, read_run
from agentrl.eval.statistics import share_interval
from agentrl.records import read_trajectories
from agentrl.run_directory import write_whole
from agentrl.statistics import Tally, tally
from agentrl.types import ENDS, Completion, Observation, Trajectory, Turn

LOG_VERSION = 2
FORMS = (".json", ".eval")
"""One document, and a zip archive of which the viewer reads a sample at a time: for many episodes."""
_CALL = re.compile(r"<tool_call>\s*(\{.*?\})\s*</tool_call>", re.DOTALL)
_LIMITS = {"turn_limit": "turn", "token_limit": "token", "context_limit": "context"}
_SETTINGS = {"turn_limit": "max_turns", "token_limit": "max_episode_tokens", "context_limit": "max_context"}
_ASKED = "(A synthesis of the turns so far is asked for.)"
_SCORES = ("success", "score", "reward")


def write_inspect_log(run: str | os.PathLike[str], target: str | os.PathLike[str]) -> int:
    """Write the log of a run directory to a new file; returns the number of its episodes.

    target: ends in `.json` or `.eval`.   Raises ConfigError for another ending, DataError where the run holds no
    judged episodes, or the file cannot be written.
    """
    form = Path(target).suffix
    if form not in FORMS:
        raise ConfigError(f"{target} ends in neither .json nor .eval, the two forms of Inspect's logs")
    cells = sorted(Path(run).glob("*/results.json")) if (Path(run) / "matrix.json").exists() else []
    if cells:
        raise DataError(f"{run} holds {len(cells)} evaluations, and a log is of one; name one, as {cells[0].parent}")
    log = inspect_log(read_run(run, 0))
    write_whole(target, _archive(log) if form == ".eval" else _json(log))
    return len(log["samples"])


def inspect_log(record: RunRecord) -> dict[str, Any]:
    """The log as what JSON can hold, one sample an episode.   Raises DataError where no episodes were judged."""
    step = max(record.judged, default=None)
    if step is None:
        raise DataError(f"{record.path} holds no judged episodes: an evaluation has them, or a run with validation")
    file = record.files.get(step)  # read again, with the images; an evaluation that goes on has none yet
    episodes = read_trajectories(record.path / file) if file else list(record.judged[step].values())
    model = str(record.results.get("policy") or episodes[0].policy or record.setting("model.name") or "unknown")
    key = _hash(f"{record.path.resolve()} {step} {_started(record)}")
    samples = _samples(record, episodes, model, key)
    scores = [_measured(name, tally(episodes), samples) for name in _SCORES]
    return {
        "version": LOG_VERSION,
        "status": "success" if record.results or record.validations else "started",
        "eval": _spec(record, samples, model, key, step),
        "plan": {"name": "agentrl", "steps": [], "config": {}},
        "results": {
            "total_samples": len(samples),
            "completed_samples": sum("error" not in sample for sample in samples),
            "scores": scores,
        },
        "stats": _stats(record, samples),
        "invalidated": False,
        "tags": [],
        "metadata": {},
        "samples": samples,
        "reductions": [_reduction(name, samples) for name in _SCORES],
    }


def _spec(record: RunRecord, samples: Sequence[Mapping[str, Any]], model: str, key: str, step: int) -> dict[str, Any]:
    """What was evaluated, and how."""
    ids = list(dict.fromkeys(sample["id"] for sample in samples))
    env, split = str(record.setting("env", "unknown")), str(samples[0]["metadata"]["split"])
    temperature = lookup(record.results, "settings.temperature", record.setting("validation.temperature"))
    rollout = record.setting("rollout", {})
    told = {"temperature": temperature, "top_p": rollout.get("top_p"), "max_tokens": rollout.get("max_new_tokens")}
    versions = lookup((record.meta.get("starts") or [{}])[-1], "environment.versions", {})
    about = {
        "step": step,
        "panel": record.results.get("panel"),
        **{name: record.setting(name) for name in ("memory", "memory_settings", "format", "seed")},
        "git": lookup((record.meta.get("starts") or [{}])[-1], "environment.git"),
    }
    return {
        "eval_id": key,
        "run_id": key,
        "created": _started(record),
        "task": env,
        "task_id": f"{env}/{split}",
        "task_version": 0,
        "task_attribs": {},
        "task_args": dict(record.setting("env_settings") or {}),
        "task_args_passed": {},
        "solver": "agentrl",
        "dataset": {"name": f"{env}/{split}", "samples": len(ids), "sample_ids": ids, "shuffled": False},
        "model": model,
        "model_generate_config": _known(told),
        "model_args": {},
        "config": {
            "epochs": max(sample["epoch"] for sample in samples),
            "epochs_reducer": ["mean"],
            **_known({"turn_limit": rollout.get("max_turns") or None}),
        },
        "scorers": [{"name": name} for name in _SCORES],
        "packages": {name: str(versions[name]) for name in ("agentrl",) if name in versions},
        "metadata": {"agentrl": about},
    }


def _samples(record: RunRecord, episodes: Sequence[Trajectory], model: str, key: str) -> list[dict[str, Any]]:
    seen: Counter[str] = Counter()
    samples = []
    for trajectory in episodes:
        task = trajectory.task.id
        seen[task] += 1
        samples.append(_sample(record, trajectory, model, seen[task]) | {"uuid": _hash(f"{key} {task} {seen[task]}")})
    return samples


def _sample(record: RunRecord, trajectory: Trajectory, model: str, epoch: int) -> dict[str, Any]:
    """One episode."""
    messages = _messages(trajectory, model)
    first = messages[0]["content"] if messages else ""
    usage = _sum(_usages(trajectory))
    task = trajectory.task
    about = {name: getattr(task, name) for name in ("split", "kind", "difficulty", "seed")}
    about |= {name: getattr(trajectory, name) for name in ("ended", "tries", "source", "policy", "reward")}
    sample: dict[str, Any] = {
        "id": _clean(task.id),
        "epoch": epoch,
        "input": first if isinstance(first, str) else [messages[0]],
        "target": "",
        "messages": messages,
        "output": _output(messages, model, usage),
        "metadata": _known(about),
        "store": {},
        "events": [],
        "model_usage": {model: usage} if usage else {},
        "role_usage": {},
        "attachments": {},
        "turn_count": trajectory.num_acts,
        "working_time": sum(sum(turn.seconds.values()) for turn in trajectory.turns),
    }
    if ENDS[trajectory.ended].infrastructure:
        text = _clean(f"{trajectory.ended}: {trajectory.failure or ''}")
        sample["error"] = {"message": text, "traceback": "", "traceback_ansi": ""}
    else:
        sample["scores"] = {name: _score(name, trajectory) for name in _SCORES}
    if trajectory.ended in _LIMITS:
        limit = record.setting(f"rollout.{_SETTINGS[trajectory.ended]}", 0)
        sample["limit"] = {"type": _LIMITS[trajectory.ended], "limit": float(limit or 0)}
    return sample


def _score(name: str, trajectory: Trajectory) -> dict[str, Any]:
    outcome = trajectory.outcome
    value = {"success": float(outcome.success), "score": outcome.score, "reward": trajectory.reward}[name]
    score: dict[str, Any] = {"value": value if math.isfinite(value) else str(value), "history": []}
    if name == "success" and outcome.answer is not None:
        score["answer"] = _clean(outcome.answer)
    if name == "score" and outcome.components:
        score["metadata"] = {part: number for part, number in outcome.components.items() if math.isfinite(number)}
    return score


def _messages(trajectory: Trajectory, model: str) -> list[dict[str, Any]]:
    """The episode as a chat: what was seen, what was replied, and the final observation."""
    messages: list[dict[str, Any]] = []
    call: dict[str, Any] | None = None
    shown = False
    for turn, usage in zip(trajectory.turns, _usages(trajectory), strict=True):
        if not shown:
            messages += _seen(turn.observation, call)
            call = None
        shown = turn.kind == "summarise"  # it takes no action: the next turn answers the same observation
        if shown:
            messages.append({"role": "user", "content": _ASKED})
        reply = _reply(turn, usage, model)
        messages.append(reply)
        call = (reply.get("tool_calls") or [None])[-1]
    if trajectory.final_observation is not None:
        messages += _seen(trajectory.final_observation, call)
    return messages


def _seen(observation: Observation, call: Mapping[str, Any] | None) -> list[dict[str, Any]]:
    """An observation as messages: those that stand before it, and its own, which answers the tool call before it."""
    earlier = [
        {"role": role if role in ("system", "user", "assistant") else "user", "content": _clean(text)}
        for role, text in observation.earlier
    ]
    content: str | list[dict[str, Any]] = _clean(observation.text)
    if observation.images:
        images = [f"data:image/png;base64,{base64.b64encode(image).decode('ascii')}" for image in observation.images]
        content = [{"type": "image", "image": image, "detail": "auto"} for image in images]
        content.append({"type": "text", "text": _clean(observation.text)})
    if call is None:
        return [*earlier, {"role": "user", "content": content}]
    return [*earlier, {"role": "tool", "tool_call_id": call["id"], "function": call["function"], "content": content}]


def _reply(turn: Turn, usage: Mapping[str, Any], model: str) -> dict[str, Any]:
    """A turn's reply, with what it did under `metadata.agentrl`."""
    completion = turn.completion
    text, calls = _with_calls(_clean(completion.text), turn)
    content: str | list[dict[str, Any]] = text
    if completion.reasoning:
        thought = {"type": "reasoning", "reasoning": _clean(completion.reasoning), "redacted": False}
        content = [thought, {"type": "text", "text": text}]
    about = {name: getattr(turn, name) for name in ("kind", "readable", "valid", "reward")}
    about |= {"turn": turn.position, "action": _clean(turn.action), "finish": completion.finish}
    about |= {"report": None if turn.report is None else _clean(turn.report), "seconds": dict(turn.seconds)}
    about |= {"usage": dict(usage) or None, "waited": completion.waited or None}
    message = {"role": "assistant", "content": content, "model": model, "source": "generate"}
    return message | ({"tool_calls": calls} if calls else {}) | {"metadata": {"agentrl": _known(about)}}


def _with_calls(text: str, turn: Turn) -> tuple[str, list[dict[str, Any]]]:
    """A reply without its tool call, and the call; where it has none that can be read, the reply as it is."""
    found = list(_CALL.finditer(text)) if turn.kind == "act" else []
    try:
        call = json.loads(found[-1][1]) if found else {}
        arguments = call.get("arguments", {})
    except (ValueError, AttributeError, RecursionError):
        return text, []
    if not isinstance(call.get("name"), str) or not isinstance(arguments, dict):
        return text, []
    made = {"id": f"call_{turn.position}", "function": call["name"], "arguments": arguments, "type": "function"}
    return (text[: found[-1].start()] + text[found[-1].end() :]).strip(), [made]


def _output(messages: Sequence[Mapping[str, Any]], model: str, usage: Mapping[str, Any]) -> dict[str, Any]:
    """The last reply, as the output of the sample."""
    last = next((message for message in reversed(messages) if message["role"] == "assistant"), None)
    if last is None:
        return {"model": model, "choices": [], "completion": ""}
    content = last["content"]
    text = content if isinstance(content, str) else content[-1]["text"]
    finish = last.get("metadata", {}).get("agentrl", {}).get("finish")
    reason = "max_tokens" if finish == "length" else "tool_calls" if last.get("tool_calls") else "stop"
    choice = {"message": dict(last), "stop_reason": reason}
    return {"model": model, "choices": [choice], "completion": text, **({"usage": dict(usage)} if usage else {})}


def _usages(trajectory: Trajectory) -> list[dict[str, Any]]:
    """Tokens and cost of every turn; empty of a policy that counts none."""
    usages, before = [], 0
    for turn in trajectory.turns:
        completion = turn.completion
        prompt = len(turn.prompt_ids) + (before if turn.continues else 0)
        before = prompt + len(completion.token_ids)
        usages.append(_usage(completion, prompt))
    return usages


def _usage(completion: Completion, prompt: int) -> dict[str, Any]:
    """prompt: its tokens, where the policy has ids; servers count their own."""
    read = completion.prompt_tokens or prompt
    wrote = completion.output_tokens or len(completion.token_ids)
    if not read and not wrote:
        return {}
    told = {
        "input_tokens": read - completion.cached_tokens,
        "output_tokens": wrote,
        "total_tokens": read + wrote,
        "input_tokens_cache_read": completion.cached_tokens or None,
        "reasoning_tokens": completion.reasoning_tokens or None,
        "total_cost": completion.cost,
    }
    return _known(told)


def _sum(usages: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """The usages together; without a cost where that of any is not known."""
    found = [usage for usage in usages if usage]
    total: Counter[str] = Counter()
    for usage in found:
        total.update({name: number for name, number in usage.items() if name != "total_cost"})
    costs = [usage.get("total_cost") for usage in found]
    return dict(total) | ({} if None in costs or not costs else {"total_cost": sum(c for c in costs if c is not None)})


def _measured(name: str, counts: Tally, samples: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The mean of a score over the episodes that have one; of success its 95 % interval too."""
    values = _values(name, samples)
    metrics = {"mean": fmean(values)} if values else {}
    if name == "success" and values:
        of_task = _by_task(name, samples)
        ends = share_interval(of_task) if len(values) > len(of_task) else counts.interval
        metrics |= dict(zip(("low_95", "high_95"), ends, strict=True))
    return {
        "name": name,
        "scorer": name,
        "scored_samples": counts.episodes,
        "unscored_samples": counts.failures,
        "params": {},
        "metrics": {title: {"name": title, "value": value, "params": {}} for title, value in metrics.items()},
    }


def _values(name: str, samples: Iterable[Mapping[str, Any]]) -> list[float]:
    values = [sample["scores"][name]["value"] for sample in samples if "scores" in sample]
    return [value for value in values if not isinstance(value, str)]


def _by_task(name: str, samples: Iterable[Mapping[str, Any]]) -> dict[str, list[float]]:
    """Sample id -> the values of a score; without samples that have none."""
    of_task: dict[str, list[float]] = {}
    for sample in samples:
        if values := _values(name, [sample]):
            of_task.setdefault(sample["id"], []).extend(values)
    return of_task


def _reduction(name: str, samples: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The mean of a score over the epochs of each sample."""
    values_of = _by_task(name, samples)
    means = [{"value": fmean(values), "history": [], "sample_id": task} for task, values in values_of.items()]
    return {"scorer": name, "reducer": "mean", "samples": means}


def _stats(record: RunRecord, samples: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    used: dict[str, list[Mapping[str, Any]]] = {}
    for sample in samples:
        for model, usage in sample["model_usage"].items():
            used.setdefault(model, []).append(usage)
    started, seconds = _started(record), record.results.get("seconds")
    ended = ""
    if isinstance(seconds, (int, float)) and len(record.meta.get("starts") or ()) == 1:
        ended = (datetime.fromisoformat(started) + timedelta(seconds=seconds)).isoformat()
    return {
        "started_at": started,
        "completed_at": ended,
        "model_usage": {model: _sum(usages) for model, usages in used.items()},
        "role_usage": {},
        "connection_limit_history": [],
    }


def _started(record: RunRecord) -> str:
    """When the run was started first, in ISO 8601; the beginning of 1970 where its folder does not say."""
    told = lookup((record.meta.get("starts") or [{}])[0], "time", "")
    try:
        return datetime.fromisoformat(str(told)).isoformat()
    except ValueError:
        return "1970-01-01T00:00:00+00:00"


def _archive(log: Mapping[str, Any]) -> bytes:
    """The log as an archive of `.eval`: a header, a file a sample, and a summary of each."""
    file = io.BytesIO()
    samples = log["samples"]
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        start = {name: log[name] for name in ("version", "eval", "plan")}
        archive.writestr("_journal/start.json", _json(start))
        for sample in samples:
            archive.writestr(f"samples/{sample['id']}_epoch_{sample['epoch']}.json", _json(sample))
        archive.writestr("summaries.json", _json([_summary(sample) for sample in samples]))
        archive.writestr("reductions.json", _json(log["reductions"]))
        header = {name: value for name, value in log.items() if name not in ("samples", "reductions")}
        archive.writestr("header.json", _json(header))
    return file.getvalue()


def _summary(sample: Mapping[str, Any]) -> dict[str, Any]:
    kept = ("id", "epoch", "input", "target", "metadata", "model_usage", "role_usage", "scores", "working_time")
    summary = {name: sample[name] for name in (*kept, "uuid", "turn_count") if name in sample}
    summary |= {"completed": True, "message_count": len(sample["messages"])}
    if "error" in sample:
        summary["error"] = sample["error"]["message"]
    return summary | ({"limit": sample["limit"]["type"]} if "limit" in sample else {})


def _json(value: Any) -> bytes:
    return json.dumps(value, allow_nan=False, default=str).encode()


def _known(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def _clean(text: str) -> str:
    """The text without halves of surrogate pairs, which JSON readers refuse."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:22]
