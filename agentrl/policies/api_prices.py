"""What a model's tokens cost, from a dated file. A price that is not there is unknown, never 0."""

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from agentrl.errors import ConfigError, DataError
from agentrl.policies.api_answers import Usage

PACKAGED = "prices.yaml"


@dataclass(frozen=True)
class Price:
    """Of a million tokens, in `currency`."""

    input: float
    output: float
    cached: float
    """Of prompt tokens that the server had in its cache; the price of input where the file names none."""
    currency: str
    date: str
    """When it was looked up: `seen` of the model, else the `date` of the file."""

    def of(self, usage: Usage) -> float:
        """cost = ((input - cached) * price of input + cached * price of cached + output * price of output) / 10^6"""
        fresh = usage.input - usage.cached
        return (fresh * self.input + usage.cached * self.cached + usage.output * self.output) / 1e6


def price_of(model: str, path: str = "") -> Price | None:
    """The price of a model, by its exact name; None where it is not in the file.

    path: a YAML file of one's own; empty: the packaged one.   Raises DataError for a file that is none of prices.
    """
    shown = path or f"agentrl/policies/{PACKAGED}"
    table = _table(shown, path)
    found = table["models"].get(model)
    if found is None:
        return None
    try:
        numbers = {name: float(found[name]) for name in ("input", "output")}
        numbers["cached"] = float(found.get("cached", numbers["input"]))
    except (KeyError, TypeError, ValueError):
        raise DataError(
            f"{shown}: the price of {model!r} must have input and output, as {{input: 1, output: 2}}"
        ) from None
    if not all(0 <= number < float("inf") for number in numbers.values()):
        raise DataError(f"{shown}: a price of {model!r} is negative or no number")
    return Price(**numbers, currency=str(table["currency"]), date=str(found.get("seen") or table["date"]))


def check_money_limit(model: str, max_cost: float, price: Price | None) -> None:
    """Raises ConfigError for a limit in money on a model whose price is not known: it could not be kept."""
    if max_cost and price is None:
        raise ConfigError(
            f"api.max_cost is set, but the price of {model!r} is not known; add it to a file of your own (api.prices) "
            "or limit api.max_tokens"
        )


def _table(shown: str, path: str) -> Mapping[str, Any]:
    import yaml

    try:
        if path:
            text = Path(path).read_text(encoding="utf-8")
        else:
            text = (resources.files("agentrl.policies") / PACKAGED).read_text(encoding="utf-8")
        found = yaml.safe_load(text)
    except OSError as error:
        raise DataError(f"cannot read the prices {shown}: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise DataError(f"the prices {shown} are no YAML: {' '.join(str(error).split())[:200]}") from error
    if not isinstance(found, dict) or not isinstance(found.get("models"), dict):
        raise DataError(f"the prices {shown} have no `models`; see agentrl/policies/{PACKAGED}")
    for name in ("date", "currency"):
        if not found.get(name):
            raise DataError(f"the prices {shown} have no `{name}`; see agentrl/policies/{PACKAGED}")
    return found
