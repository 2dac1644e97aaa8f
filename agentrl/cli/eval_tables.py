"""What `agentrl eval` prints of its results: a table of task kinds each, decodings side by side, a line a cell."""

from collections.abc import Mapping, Sequence
from typing import Any

from agentrl.display import duration, tally_cells

_MEANS = (("score", 3), ("turns", 1))
_LABELS = ("policy", "env", "memory", "format", "split", "decoding")


def cells_table(results: Sequence[Any]) -> list[str]:
    """A line a cell: what it is where cells differ, success with its 95 % interval, means, failures, cost."""
    rows = [{name: str(getattr(result, name)) for name in _LABELS} for result in results]
    telling = [name for name in _LABELS if len({row[name] for row in rows}) > 1] or ["policy"]
    costs = any(result.usage is not None for result in results)
    head = [
        *telling,
        "success",
        "95 % interval",
        "episodes",
        "score",
        "turns",
        "failures",
        *(["cost"] if costs else []),
    ]
    lines = [head]
    for result, row in zip(results, rows, strict=True):
        share, _, episodes = tally_cells(result.all)
        values = result.all.as_dict()
        low, high = result.success_interval
        interval = f"{100 * low:.1f}-{100 * high:.1f} %" if result.all.episodes else ""
        means = [f"{values[name]:.{digits}f}" if values[name] is not None else "-" for name, digits in _MEANS]
        shown = [row[name] for name in telling]
        lines.append(
            [*shown, share, interval, episodes, *means, str(result.all.failures), *([cost(result)] if costs else [])]
        )
    return aligned(lines, len(telling))


def cost(result: Any) -> str:
    """What the episodes of a result cost; of an unknown price `unknown`, of what no one asks money for `-`."""
    if result.usage is None:
        return "-"
    spent = result.usage["episodes"]["cost"]
    return "unknown" if spent is None else f"{spent:.4f} {result.usage['policy']['currency']}"


def aligned(rows: Sequence[Sequence[str]], num_left: int) -> list[str]:
    """Rows of cells as lines: the first columns stand on the left, the others on the right."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return [
        "  ".join(
            cell.ljust(width) if column < num_left else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def estimate_lines(estimates: Sequence[Any]) -> list[str]:
    """What cells will take: a line each, and what those of models behind an API may come to together."""
    lines = []
    for found in estimates:
        cell = found.cell
        name = f"{cell.name} " if cell.name else f"{cell.labels['policy']} on"
        lines.append(f"# {name} {found.tasks} tasks of {cell.split}, {cell.repeats} a task, {cell.decoding}")
        if found.is_api:
            lines.append(f"#   {_bound(found)}")
    paid = [found for found in estimates if found.is_api and not found.unknown]
    lines.append(f"# {sum(found.episodes for found in estimates)} episodes in all{_together(paid)}")
    return lines


def _bound(found: Any) -> str:
    if found.unknown:
        return f"no estimate: {found.unknown}"
    tokens = f"{found.input_tokens:,} input and {found.output_tokens:,} output tokens"
    seconds = f"; its limits a minute alone take {duration(found.seconds)}" if found.seconds else ""
    return (
        f"at most about {found.calls:,} calls, {tokens}, {_money(found)}, if every episode takes {_turns(found.turns)} "
        f"and every reply its {found.cell.config.rollout.max_new_tokens} tokens{seconds}"
    )


def _turns(number: int) -> str:
    return f"{number} turn" if number == 1 else f"{number} turns"


def _money(found: Any) -> str:
    if found.price is None:
        return "cost unknown (the model is not in the file of prices)"
    return f"{found.cost:.4f} {found.price.currency} by prices of {found.price.date}"


def _together(paid: Sequence[Any]) -> str:
    if not paid:
        return ""
    by_currency: dict[str, float] = {}
    for found in paid:
        if found.price is not None:
            by_currency[found.price.currency] = by_currency.get(found.price.currency, 0.0) + found.cost
    unknown = sum(found.price is None for found in paid)
    parts = [f"{value:.4f} {currency}" for currency, value in by_currency.items()]
    parts += [f"{unknown} cells of unknown cost"] if unknown else []
    return f"; models behind an API at most about {' + '.join(parts)}"


def rest_lines(rests: Sequence[Any]) -> list[str]:
    """What is left of an evaluation, a line a cell; of models behind an API also what that will cost about."""
    lines = []
    for rest in rests:
        done = rest.episodes - rest.left
        name = rest.cell.name or f"{rest.cell.labels['policy']} in {rest.cell.labels['env']}"
        line = f"# {name}  {rest.left} of {rest.episodes} episodes are left"
        if rest.left and rest.usage is not None:
            each = rest.left / done
            tokens = rest.usage["tokens"]
            line += f": about {each * tokens['input']:,.0f} input and {each * tokens['output']:,.0f} output tokens"
            spent = rest.usage["cost"]
            line += ", cost unknown" if spent is None else f", {each * spent:.4f} by the price of what was played"
        lines.append(line)
    lines.append(f"# {sum(rest.left for rest in rests)} of {sum(rest.episodes for rest in rests)} episodes are left")
    return lines


def side_by_side(results: Sequence[Any]) -> list[str]:
    """A line a task kind, a column a result: success in percent, its 95 % interval, and the episodes."""
    kinds = list(dict.fromkeys(kind for result in results for kind in result.by_kind))
    head = ("success, %", *(f"{result.split} {result.decoding}" for result in results))
    rows = [head, *((kind, *(_share(result, kind) for result in results)) for kind in kinds)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(head))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def _share(result: Any, kind: str) -> str:
    counts = result.by_kind.get(kind)
    if counts is None or not counts.episodes:
        return "-"
    low, high = result.intervals[kind]
    return f"{100 * counts.success:.1f} [{100 * low:.1f}, {100 * high:.1f}] of {counts.episodes}"


def table(result: Any) -> list[str]:
    """A line a task kind, all episodes first, and what is to be said under them."""
    head = ("", "success", "95 % interval", "episodes", "score", "turns", "invalid", "failures")
    rows = [head]
    for kind, counts in result.by_kind.items():
        share, _, episodes = tally_cells(counts)
        values = counts.as_dict()
        low, high = result.intervals[kind]
        interval = f"{100 * low:.1f}-{100 * high:.1f} %" if counts.episodes else ""
        rows.append(
            (
                kind,
                share,
                interval,
                episodes,
                *(f"{values[name]:.{digits}f}" if values[name] is not None else "-" for name, digits in _MEANS),
                f"{100 * values['invalid_rate']:.1f} %" if values["invalid_rate"] is not None else "-",
                str(counts.failures),
            )
        )
    widths = [max(len(row[i]) for row in rows) for i in range(len(head))]
    lines = [
        "  ".join(
            [row[0].ljust(widths[0]), *(cell.rjust(w) for cell, w in zip(row[1:], widths[1:], strict=True))]
        ).rstrip()
        for row in rows
    ]
    by = "Wilson's" if result.interval_by == "wilson" else result.interval_by
    lines += [
        "",
        f"{result.policy} on {result.split}, {result.decoding}, panel {result.panel[:16]} from"
        f" {result.trajectories[0].task.id} on, {result.seconds:.1f} s; intervals: {by}",
    ]
    if result.all.failures:
        lines.append(
            f"{result.all.failures} episodes ended by an infrastructure failure and are in no mean; first: "
            + next(str(t.failure) for t in result.trajectories if t.failure)
        )
    if result.usage is not None:
        lines.append(usage_line(result.usage))
    if result.run_dir is not None:
        lines.append(f"written to {result.run_dir}")
    return lines


def usage_line(usage: Mapping[str, Any]) -> str:
    """Tokens and cost of a model behind an API; an unknown price is said to be unknown."""
    tokens, policy = usage["episodes"]["tokens"], usage["policy"]
    line = (
        f"{tokens['input']:,} input tokens ({tokens['cached']:,} cached), {tokens['output']:,} output tokens"
        f" ({tokens['reasoning']:,} reasoning)"
    )
    if policy["cost"] is None:
        return f"{line}; cost unknown: the price of this model is not in the file of prices (api.prices)"
    cost = "of unknown cost" if usage["episodes"]["cost"] is None else f"{usage['episodes']['cost']:.4f}"
    spent = "nothing: replayed" if policy["replayed"] else f"{policy['cost']:.4f} with calls that gave no reply"
    return f"{line}; {cost} {policy['currency']} by prices of {policy['prices_of']}; spent: {spent}"
