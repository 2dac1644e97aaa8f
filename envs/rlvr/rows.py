"""Rows as questions: which columns hold what, and how answers are verified; by their names, or told by settings."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from agentrl.envs.rlvr.code import question as code_question
from agentrl.envs.rlvr.extraction import last_boxed, last_hashes, one_number
from agentrl.envs.rlvr.questions import Form, Question
from agentrl.envs.rlvr.readers import Row
from agentrl.envs.rlvr.settings import Config
from agentrl.envs.rlvr.verifiers import LETTERS, options_of
from agentrl.envs.rlvr.verifiers_other import verifier_of
from agentrl.errors import DataError, nearest
from agentrl.registry import names
from agentrl.sandbox import find_isolation

PROMPTS = ("prompt", "question", "problem", "instruction", "query", "input")
ANSWERS = (
    "answer", "final_answer", "ground_truth", "gold", "target", "reward_model.ground_truth", "answerKey", "solution",
    "label",
)  # fmt: skip
KINDS = ("kind", "subject", "type", "category", "data_source")
DIFFICULTIES = ("difficulty", "level")
NAMES = ("id", "task_id", "unique_id")
"""Columns, by what they hold; the first that a row has. A dot goes into an object: `reward_model.ground_truth`."""

CODE = ({"prompt", "entry_point", "test"}, {"test_list"}, {"input_output"}, {"inputs", "outputs"})
"""Columns of questions that a program answers, as of HumanEval, MBPP and APPS."""
_FORMS: Mapping[str, Form] = {"math": "boxed", "numeric": "hashes"}
"""Verifier -> the form that answers are asked for in; the others' are plain."""
_KEPT = ("choices", "options", "example")
"""Columns that registered verifiers read; a function of the user's gets them all."""
_CALCULATION = re.compile(r"<<[^<>\n]*>>")
_WORDS = {"easy": 0.0, "medium": 0.5, "hard": 1.0}


@dataclass(frozen=True, slots=True)
class Asked:
    """A question, and what its row says beside it."""

    question: Question
    name: str = ""
    """The row's own name."""
    split: str = ""
    difficulty: Any = None


def column(columns: Mapping[str, Any], name: str) -> Any:
    """A column by its name, into objects where the name has dots; None where there is none."""
    if name in columns:
        return columns[name]
    found: Any = columns
    for part in name.split("."):
        found = found.get(part) if isinstance(found, Mapping) else None
    return found


def _named(row: Row, setting: str, asked: str, known: Sequence[str]) -> tuple[str, Any]:
    """The column that a setting names, or the first that is known, and its value; ("", None) where there is none.

    Raises DataError where the setting names what the row does not have.
    """
    if asked:
        value = column(row.columns, asked)
        if value is None:
            have = ", ".join(map(str, row.columns))
            raise DataError(
                f"data: {row.place} has no column {asked!r} (env_settings.{setting})"
                f"{nearest(asked, map(str, row.columns))}; its columns: {have}"
            )
        return asked, value
    return next(((name, v) for name in known if (v := column(row.columns, name)) is not None), ("", None))


def asked_of(row: Row, kind: str, config: Config) -> Asked:
    """What a row asks.   kind: of rows that do not say theirs.

    Raises DataError with the row's place and what would be right; ConfigError for unit tests without a sandbox.
    """
    if not config.prompt_column and any(columns <= set(row.columns) for columns in CODE):
        find_isolation(unsafe=config.unsafe_local_exec)  # refused here rather than after the first episode
        question = code_question(row)
        question = replace(question, kind=question.kind or kind)
    else:
        question = _question(row, kind, config)
    _, difficulty = _named(row, "difficulty_column", config.difficulty_column, DIFFICULTIES)
    _, split = _named(row, "split_column", config.split_column, ("split",))
    _, name = _named(row, "", "", NAMES)
    return Asked(question, str(name or ""), str(split or ""), difficulty)


def _question(row: Row, kind: str, config: Config) -> Question:
    where, prompt = _named(row, "prompt_column", config.prompt_column, PROMPTS)
    if not where:
        raise DataError(_lacks(row, "question", PROMPTS, "prompt_column"))
    answer_column, answer = _named(row, "answer_column", config.answer_column, ANSWERS)
    if not answer_column and ":" not in config.verifier:  # a function of the user's may need none
        raise DataError(_lacks(row, "answer", ANSWERS, "answer_column"))
    answers, worked = _answers(row, answer_column, answer)
    name = config.verifier if config.verifier != "auto" else _verifier(row, where, answer_column, answers)
    text = _with_options(_prompt_text(row, where, prompt), row.columns) if name == "choice" else ""
    if name == "choice" and options_of(row.columns) and isinstance(answer, int) and not isinstance(answer, bool):
        answers = (LETTERS[answer],) if 0 <= answer < len(LETTERS) else answers  # counted from 0, as in MMLU
    _, own_kind = _named(row, "kind_column", config.kind_column, KINDS)
    kept = {str(key): value for key, value in row.columns.items() if ":" in name or key in _KEPT}
    question = Question(
        text or _prompt_text(row, where, prompt),
        answers,
        name,
        config.form if config.form != "auto" else _FORMS.get(name, "plain"),
        kind=str(own_kind) if own_kind is not None else kind,
        place=row.place,
        worked=worked,
        shows_work=config.worked_solutions,
        row=json.loads(json.dumps(kept, default=str)),
    )
    complaint = verifier_of(name).complaint(question)
    if complaint:
        raise DataError(f"data: {row.place} {complaint}")
    return question


def _lacks(row: Row, what: str, known: Sequence[str], setting: str) -> str:
    have = ", ".join(map(str, row.columns)) or "none"
    return (
        f"data: {row.place} has no {what}: none of the columns {', '.join(known)}; it has: {have} "
        f"(name the right one with env_settings.{setting})"
    )


def _is_message(message: Any) -> bool:
    return isinstance(message, Mapping) and "role" in message and isinstance(message.get("content"), str)


def _prompt_text(row: Row, where: str, prompt: Any) -> str:
    """A text, or a list of messages as one text; the last of them is the user's."""
    if isinstance(prompt, str):
        if not prompt.strip():
            raise DataError(f"data: {row.place} has an empty {where!r}")
        return prompt.strip()
    messages = list(prompt) if isinstance(prompt, Sequence) else []
    said = [(str(m.get("role")), m["content"]) for m in messages if _is_message(m)]
    if not said or len(said) != len(messages):
        raise DataError(
            f"data: {row.place} has a {where!r} that is neither a text nor a list of messages "
            '[{"role": "user", "content": "..."}]'
        )
    if said[-1][0] != "user":
        raise DataError(
            f"data: {row.place} has a {where!r} whose last message is of {said[-1][0]!r}; it must be user's"
        )
    spoken = [(role, text.strip()) for role, text in said if text.strip()]
    if len([role for role, _ in spoken if role != "system"]) == 1:
        return "\n\n".join(text for _, text in spoken)
    return "\n\n".join(text if role == "system" else f"{role.capitalize()}: {text}" for role, text in spoken)


def _answers(row: Row, where: str, answer: Any) -> tuple[tuple[str, ...], str]:
    """The right answers, and the worked solution: GSM8K's answer stands behind ####, MATH's in a \\boxed{}."""
    worked: Any = column(row.columns, "solution") if where != "solution" else None
    told = [answer] if not isinstance(answer, (list, tuple)) else list(answer)
    if any(isinstance(one, (Mapping, list, tuple)) for one in told):
        raise DataError(f"data: {row.place} has a {where!r} that is no text, number, or list of these")
    texts = [_number_text(one) for one in told if one is not None]
    if len(texts) == 1:
        text = texts[0]
        final = last_hashes(text) or (last_boxed(text) if where == "solution" or "\\boxed" in text else None)
        if final is not None:
            before = text.rpartition("####")[0] if last_hashes(text) else text
            return (final,), _CALCULATION.sub("", before).strip()
        if where == "solution" and "\n" in text:
            raise DataError(f"data: {row.place} has a solution without a \\boxed{{}} answer, and no column of answers")
    return tuple(texts), str(worked).strip() if isinstance(worked, str) else ""


def _number_text(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value).strip()


def _verifier(row: Row, prompt: str, answer: str, answers: Sequence[str]) -> str:
    """How the answers of a row are verified: as it says itself (by a registered name), or as they look."""
    own = row.columns.get("verifier")
    if own is not None:
        if str(own).replace("_", "-") not in names("verifier"):
            known = names("verifier")
            raise DataError(
                f"data: {row.place} has the verifier {own!r}{nearest(str(own), known)} ({', '.join(known)})"
            )
        return str(own).replace("_", "-")
    if options_of(row.columns):
        return "choice"
    raw = column(row.columns, answer)
    if isinstance(raw, str) and last_hashes(raw) is not None and one_number(answers[0]) is not None:
        return "numeric"
    if prompt == "problem" or (isinstance(raw, str) and "\\boxed" in raw):
        return "math"
    if answers and all(_is_number(text) for text in answers):
        return "numeric"
    return "math" if any(sign in text for text in answers for sign in "\\^") else "exact"


def _is_number(text: str) -> bool:
    return one_number(text) is not None and not re.search(r"[A-Za-z]{2,}", re.sub(r"\\[dt]?frac", "", text))


def _with_options(text: str, columns: Mapping[str, Any]) -> str:
    """The question, and under it its options, unless it has them already."""
    options = options_of(columns)
    if not options or all(option in text for option in options):
        return text
    return "\n".join([text, *(f"{letter}. {option}" for letter, option in zip(LETTERS, options, strict=False))])


def difficulty_scale(raw: Sequence[Any]) -> list[float | None]:
    """What rows say of their difficulty, from 0 to 1: MATH's `Level 1` to `Level 5`, easy to hard, shares, or numbers.

    Levels from 1 to 5 become (level - 1) / 4; numbers from 0 to 1 stay; others are stretched from least to most.
    None for what is none of these.
    """
    values = [_difficulty(one) for one in raw]
    told = [v for v in values if v is not None]
    if not told:
        return values
    if all(v in (1, 2, 3, 4, 5) for v in told) and max(told) > 1:
        return [None if v is None else (v - 1) / 4 for v in values]
    least, most = min(told), max(told)
    if least >= 0 and most <= 1:
        return values
    return [None if v is None else (v - least) / (most - least) if most > least else 0.0 for v in values]


def _difficulty(value: Any) -> float | None:
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return float(value) if value == value and abs(value) < float("inf") else None
    if isinstance(value, str):
        if value.strip().lower() in _WORDS:
            return _WORDS[value.strip().lower()]
        number = re.fullmatch(r"(?:level\s*)?(-?\d+(?:\.\d+)?)", value.strip(), re.IGNORECASE)
        return float(number[1]) if number else None
    return None
