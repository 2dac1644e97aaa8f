"""Strict typed settings: what is unknown or cannot be is one line with the nearest name."""

from dataclasses import dataclass, field
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentrl.errors import ConfigError
from agentrl.settings import field_help, from_mapping, merge, require, to_mapping


@dataclass(frozen=True, kw_only=True)
class Inner:
    """Inside."""

    size: int = 1
    """How large; at least 1."""
    share: float = 0.5
    """Of the whole,
    in two lines."""
    shape: Literal["round", "square"] = "round"
    names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        require(self.size >= 1, f"size is {self.size}; it must be at least 1")


@dataclass(frozen=True, kw_only=True)
class Outer:
    inner: Inner = Inner()
    free: dict[str, Any] = field(default_factory=dict)
    on: bool = False
    word: str | None = None


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"inner": {"sise": 2}}, "unknown setting 'inner.sise'; did you mean 'inner.size'?"),
        ({"size": 2}, "unknown setting 'size'; did you mean 'inner.size'?"),
        ({"zzz": 2}, "unknown setting 'zzz'; known here: free, inner, on, word"),
        ({"inner": {"size": 0}}, "inner.size is 0; it must be at least 1"),
        ({"inner": {"size": 1.5}}, "inner.size is 1.5; it must be a whole number"),
        ({"inner": {"size": True}}, "inner.size is True; it must be a whole number"),
        ({"inner": {"share": "much"}}, "inner.share is 'much'; it must be a number"),
        ({"inner": {"shape": "rond"}}, "inner.shape is 'rond'; did you mean 'round'?; allowed: round, square"),
        ({"inner": {"names": "abc"}}, "inner.names is 'abc'; it must be a list"),
        ({"inner": 3}, "inner is 3; it must be a group of settings"),
        ({"on": "yes"}, "on is 'yes'; it must be true or false"),
        ({"free": [1]}, "free is [1]; it must be a group of settings"),
    ],
)
def test_a_bad_setting_is_one_line_that_helps(settings, message):
    with pytest.raises(ConfigError) as raised:
        from_mapping(Outer, settings)
    assert str(raised.value) == message


def test_yaml_s_numbers_are_read_as_they_are_meant():
    read = from_mapping(Outer, {"inner": {"share": "1e-3", "names": ["a", 1]}, "word": None})
    assert read.inner.share == 0.001 and read.inner.names == ("a", "1") and read.word is None
    assert isinstance(from_mapping(Inner, {"share": 1}).share, float)


def test_a_required_setting_is_asked_for():
    @dataclass(frozen=True)
    class Needs:
        path: str

    with pytest.raises(ConfigError, match="setting 'world.path' is required"):
        from_mapping(Needs, {}, "world")


@given(
    st.builds(
        Outer,
        inner=st.builds(
            Inner,
            size=st.integers(1),
            share=st.floats(allow_nan=False, allow_infinity=False),
            names=st.lists(st.text()).map(tuple),
        ),
        free=st.dictionaries(st.text(), st.integers()),
        on=st.booleans(),
        word=st.none() | st.text(),
    )
)
def test_a_mapping_and_back_is_the_same(settings):
    assert from_mapping(Outer, to_mapping(settings)) == settings


def test_later_layers_win_and_groups_are_merged():
    assert merge({"a": {"b": 1, "c": 2}, "d": 1}, {"a": {"b": 3}, "d": {"e": 1}}) == {
        "a": {"b": 3, "c": 2},
        "d": {"e": 1},
    }


def test_the_text_under_a_field_is_its_help():
    assert field_help(Inner) == {"size": "How large; at least 1.", "share": "Of the whole, in two lines."}

    @dataclass(frozen=True, kw_only=True)
    class Wider(Inner):
        width: int = 2
        """How wide."""

    assert field_help(Wider) == field_help(Inner) | {"width": "How wide."}
