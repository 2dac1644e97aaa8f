"""Files of preferences that are broken: each is one line with file, line, what is wrong, and what would be right."""

import gzip
import json
import subprocess
import sys

import pyarrow
import pyarrow.parquet
import pytest

from agentrl import row_files
from agentrl.errors import DataError
from agentrl.logged_data import data_kind, examples, read_data, read_examples
from agentrl.logged_rows import FORMATS, example_of, format_of

PAIR = {"prompt": "2 + 2 =", "chosen": " 4", "rejected": " 5"}


def user(text):
    return {"role": "user", "content": text}


def says(text):
    return {"role": "assistant", "content": text}


TALK = {"prompt": [user("2 + 2?")], "chosen": [says("4")], "rejected": [says("5")]}
RANKED = {"prompt": "2 + 2 =", "responses": [" 4", " 5", " 6"], "scores": [1.0, 0.5, 0.0]}
LABELLED = {"prompt": "2 + 2 =", "completion": " 4", "label": True}


def written(folder, *rows, name="pairs.jsonl"):
    path = folder / name
    texts = [row if isinstance(row, bytes) else json.dumps(row).encode() for row in rows]
    path.write_bytes(b"".join(text + b"\n" for text in texts))
    return path


def read(path):
    return read_data(path, memory=None, format=None, renderer=None)


BAD_ROWS = {
    "a broken line": (b'{"prompt": "2 + 2 =", "chosen"', "is no JSON (Expecting ':' delimiter at column 31)"),
    "no object": ([1, 2], 'is a list; it must be an object, as {"prompt": "...", "chosen"'),
    "a key twice": (b'{"prompt": "a", "prompt": "b", "chosen": "c", "rejected": "d"}', "the key 'prompt' stands twice"),
    "no UTF-8": (b'{"prompt": "\xff"}', "is no UTF-8; save the file as UTF-8"),
    "a nesting without end": (b"[" * 100_000, "is no JSON"),
    "no known column": ({"question": "a", "answer": "b"}, "has the columns question, answer, of no known format"),
    "no column at all": ({}, "has the columns none, of no known format"),
    "a column that is nearly known": ({"mesages": []}, "did you mean 'messages'?"),
    "a lone side": ({"prompt": "a", "chosen": "b"}, "has the column 'chosen' without 'rejected'"),
    "a misspelt side": ({"prompt": "a", "chosen": "b", "rejcted": "c"}, "is it 'rejcted'?"),
    "a side that is null": ({**PAIR, "rejected": None}, "has the column 'chosen' without 'rejected', which is null"),
    "scores without responses": ({"prompt": "a", "scores": [1]}, "has the column 'scores' without 'responses'"),
    "a label without completion": ({"prompt": "a", "label": True}, "has the column 'label' without 'completion'"),
    "a number as prompt": ({**PAIR, "prompt": 4}, "has a 'prompt' that is a number; it must be a text or a list of"),
    "an object as side": ({**PAIR, "chosen": {"a": 1}}, "has a 'chosen' that is an object; it must be a text or"),
    "an empty prompt": ({**PAIR, "prompt": " \n"}, "has an empty 'prompt'"),
    "a prompt without messages": ({**TALK, "prompt": []}, "has an empty 'prompt': no message"),
    "an empty completion": ({**PAIR, "rejected": ""}, "has an empty 'rejected'"),
    "an empty message": ({**TALK, "chosen": [says("")]}, "has an empty text in message 1 of 'chosen'"),
    "the same twice": ({**PAIR, "rejected": " 4"}, "has a 'chosen' that is the same as 'rejected'"),
    "the same messages twice": ({**TALK, "rejected": [says("4")]}, "has a 'chosen' that is the same as 'rejected'"),
    "a message of another form": ({**TALK, "chosen": [{"from": "gpt", "value": "4"}]}, 'is not {"role": "...", "cont'),
    "a content that is no text": ({**TALK, "chosen": [says(4)]}, "has a content in message 1 of 'chosen' that is"),
    "an image": ({**TALK, "chosen": [says([{"type": "image"}])]}, "has an item 'image' in message 1 of 'chosen'; only"),
    "an unknown role": ({**TALK, "chosen": [{"role": "asistant", "content": "4"}]}, "did you mean 'assistant'?"),
    "a prompt that is answered": ({**TALK, "prompt": [user("a"), says("b")]}, "whose last message is of 'assistant'"),
    "a late system message": (
        {**TALK, "prompt": [user("a"), {"role": "system", "content": "b"}, user("c")]},
        "has a system message in 'prompt' that is not the first",
    ),
    "no answer": ({**TALK, "chosen": [user("again")]}, "that begins with a message of 'user'; behind the"),
    "an answer that ends with a user": (
        {**TALK, "chosen": [says("4"), user("thanks")]},
        "has a 'chosen' whose last message is of 'user'; it must be the assistant's",
    ),
    "an answer out of order": (
        {**TALK, "chosen": [says("4"), says("four")]},
        "has two messages of 'assistant' one behind the other in 'chosen' (2 and 3)",
    ),
    "only the prompt again": ({**TALK, "chosen": [user("2 + 2?")]}, "has a 'chosen' that ends with the prompt"),
    "a text after messages": ({**TALK, "chosen": "4"}, "has a 'chosen' that is a text and a 'prompt' of messages"),
    "messages after a text": ({**PAIR, "chosen": [says("4")]}, "does not begin with its 'prompt', which is a text"),
    "implicit prompts that differ": (
        {"chosen": [user("a"), says("b")], "rejected": [user("c"), says("d")]},
        "with prompts that differ: they must share their beginning",
    ),
    "implicit texts that differ": ({"chosen": "yes it is", "rejected": "no"}, "they share no word at their beginning"),
    "an implicit side without end": ({"chosen": "it is 4", "rejected": "it is"}, "has an empty 'rejected': the other"),
    "an implicit mix": ({"chosen": "a b", "rejected": [user("a")]}, "of which one is a text and one a list of mess"),
    "a label that is no bool": ({**LABELLED, "label": 1}, "has a 'label' that is 1; it must be true or false"),
    "a score that is nan": (
        b'{"prompt": "a", "chosen": "b", "rejected": "c", "score_chosen": NaN, "score_rejected": 1}',
        "has a 'score_chosen' that is nan; it must be finite",
    ),
    "a score that is a text": ({**PAIR, "margin": "large"}, "has a 'margin' that is a text; it must be a number"),
    "one score alone": ({**PAIR, "score_chosen": 1}, "has 'score_chosen' alone; give 'score_chosen' and"),
    "equal scores": ({**PAIR, "score_chosen": 1, "score_rejected": 1.0}, "has equal scores (1) for 'chosen' and"),
    "contradicting scores": (
        {**PAIR, "score_chosen": 1, "score_rejected": 2},
        "has scores that contradict it: 'score_chosen' is 1, 'score_rejected' 2; the chosen one's must be higher",
    ),
    "a margin below 0": ({**PAIR, "margin": -0.5}, "has a 'margin' of -0.5"),
    "one response": ({**RANKED, "responses": [" 4"], "scores": [1]}, "has 1 'responses'; it must have at least 2"),
    "a score too few": ({**RANKED, "scores": [1, 0]}, "has 2 'scores' for 3 'responses'"),
    "no list of scores": ({**RANKED, "scores": 1}, "has a 'scores' that is a number; it must be a list"),
    "responses of one score": ({**RANKED, "scores": [1, 1, 1]}, "has equal 'scores' (1) for all responses"),
    "a response twice": ({**RANKED, "responses": [" 4", " 4", " 5"]}, "has the same response twice"),
    "messages without a reply": ({"messages": [user("a")]}, "has 'messages' without an assistant's"),
    "a reply to nobody": ({"messages": [says("a")]}, "has 'messages' in which the assistant speaks before any user"),
    "a text of messages": ({"messages": "a"}, "has 'messages' that are a text; they must be a list of messages"),
    "messages out of order": (
        {"messages": [user("a"), user("b"), says("c")]},
        "has two messages of 'user' one behind the other in 'messages' (1 and 2); user and assistant must take turns",
    ),
    "an empty text": ({"text": " "}, "has an empty 'text'"),
    "an empty reference": ({**PAIR, "reference": ""}, "has an empty 'reference'"),
    "another format": (RANKED, "is of the format 'ranked', but the data began with 'preference' ("),
    "messages among texts": (TALK, "has messages, but the data began with a raw text ("),
    "an episode among rows": ({"schema": 1, "task": {}, "turns": []}, "is an episode among rows"),
}  # fmt: skip


@pytest.mark.parametrize(("row", "message"), BAD_ROWS.values(), ids=BAD_ROWS)
def test_a_row_that_is_wrong_is_one_line_with_its_place(row, message, tmp_path):
    path = written(tmp_path, PAIR, b"", row, PAIR)
    with pytest.raises(DataError) as error:
        read(path)
    told = str(error.value)
    assert told.startswith(f"data: {path}, line 3 ") and message in told and "\n" not in told


@pytest.mark.parametrize(("row", "message"), BAD_ROWS.values(), ids=BAD_ROWS)
def test_what_follows_a_row_that_is_wrong_is_read_all_the_same(row, message, tmp_path):
    found = [said for _, said in examples(written(tmp_path, PAIR, row, PAIR, {"prompt": "a"}))]
    assert [isinstance(said, DataError) for said in found] == [False, True, False, True]
    assert "is of the format 'prompts'" in str(found[-1])


BAD_FILES = {
    "an unknown ending": ("pairs.txt", b"", "has an unknown ending; known endings: .jsonl, .ndjson, .json, .parquet"),
    "an empty file": ("pairs.jsonl", b"", "holds no row"),
    "blank lines": ("pairs.jsonl", b"\n  \n", "holds no row"),
    "an empty list": ("pairs.json", b"[]", "holds no row"),
    "JSON that is no list": ("pairs.json", b'{"prompt": "a"}', "holds a dict; it must be a list of objects"),
    "JSON that breaks off": ("pairs.json", b'[\n{"prompt"', "line 2 is no JSON; JSON lines belong into a .jsonl file"),
    "no gzip": ("pairs.jsonl.gz", b'{"prompt": "a"}\n', "cannot be read: Not a gzipped file"),
    "a gzip that breaks off": ("pairs.jsonl.gz", gzip.compress(b'{"prompt": "a"}\n' * 9)[:-12], "breaks off"),
    "a broken Parquet": ("pairs.parquet", b"PAR1 no more", "cannot be read: "),
    "prompts alone": ("asked.jsonl", b'{"prompt": "a"}\n', "holds prompts without answers, which nothing can be learn"),
    "damaged episodes": ("steps.jsonl", b'{"schema": 1, "task": {}, "turns": []}\n', "a trajectory is damaged: KeyErr"),
}  # fmt: skip


@pytest.mark.parametrize(("name", "content", "message"), BAD_FILES.values(), ids=BAD_FILES)
def test_a_file_that_is_wrong_is_one_line(name, content, message, tmp_path):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError) as error:
        read(tmp_path / name)
    told = str(error.value)
    assert message in told and "\n" not in told and (name in told or "damaged" in told)


def test_a_gzip_that_breaks_off_names_the_last_line_it_has(tmp_path):
    lines = [json.dumps({**PAIR, "chosen": f" {n * 7919 % 10007}"}).encode() + b"\n" for n in range(4000)]
    whole = gzip.compress(b"".join(lines))
    (tmp_path / "pairs.jsonl.gz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match=r"pairs.jsonl.gz breaks off after line \d{4} \(gzip: .*\); copy or download"):
        read(tmp_path / "pairs.jsonl.gz")


def test_a_line_that_is_too_long_is_told_and_skipped(tmp_path, monkeypatch):
    monkeypatch.setattr(row_files, "LONGEST", 1000)
    path = written(tmp_path, PAIR, {**PAIR, "prompt": "x" * 5000}, PAIR)
    first, second, third = (said for _, said in examples(path))
    assert f"{path}, line 2 has more than 0 MB; each line must be one row" in str(second)
    assert first.place.endswith("line 1") and third.place.endswith("line 3")


def test_a_place_that_is_not_there_names_what_is_beside_it(tmp_path):
    written(tmp_path, PAIR)
    with pytest.raises(DataError, match="there is no file or folder .*pair.jsonl; did you mean 'pairs.jsonl'?"):
        data_kind(tmp_path / "pair.jsonl")


def test_a_folder_without_anything_to_read_says_what_it_looks_for(tmp_path):
    (tmp_path / "notes.txt").write_text("none")
    with pytest.raises(DataError, match="holds neither trajectories of a run nor a file of rows; known endings: .json"):
        data_kind(tmp_path)
    (tmp_path / "run" / "trajectories").mkdir(parents=True)
    with pytest.raises(DataError, match="holds no trajectories"):
        data_kind(tmp_path / "run")


def test_a_folder_of_files_is_read_as_one_and_must_be_of_one_format(tmp_path):
    (tmp_path / "part").mkdir()
    written(tmp_path / "part", PAIR, name="1.jsonl")
    second = written(tmp_path / "part", {**PAIR, "chosen": " four"}, name="2.ndjson")
    form, found = read_examples(tmp_path)
    assert (form.name, len(found), found[1].group) == ("preference", 2, "part/2.ndjson:1")
    written(tmp_path / "part", LABELLED, name="2.ndjson")
    with pytest.raises(DataError, match="2.ndjson, line 1 is of the format 'unpaired', but the data began with 'prefe"):
        read_examples(tmp_path)
    assert second.exists()


def test_rows_of_parquet_are_read_as_those_of_json_lines(tmp_path):
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist([TALK, TALK]), tmp_path / "pairs.parquet")
    _, packed = read_examples(tmp_path / "pairs.parquet")
    _, plain = read_examples(written(tmp_path, TALK))
    assert packed[0].prompt == plain[0].prompt and packed[0].answers == plain[0].answers
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist([PAIR, {**PAIR, "chosen": None}]), tmp_path / "pairs.parquet")
    with pytest.raises(DataError, match="pairs.parquet, row 2 has the column 'rejected' without 'chosen', which is nu"):
        read_examples(tmp_path / "pairs.parquet")


def test_without_pyarrow_parquet_is_one_line_with_the_command(tmp_path):
    (tmp_path / "pairs.parquet").write_bytes(b"PAR1")
    code = (
        "import sys; sys.modules['pyarrow'] = None\nfrom agentrl.errors import MissingDependency\n"
        "from agentrl.logged_data import read_examples\n"
        f"try: read_examples({str(tmp_path / 'pairs.parquet')!r})\nexcept MissingDependency as error: print(error)"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert "needs 'pyarrow', which is not installed. Run: pip install 'agentrl[parquet]'" in told


def test_rows_that_are_wrong_are_left_out_and_counted_where_that_is_asked_for(tmp_path):
    from agentrl.config import DataConfig

    said = []
    path = written(tmp_path, PAIR, b"{", {**PAIR, "rejected": ""}, PAIR)
    _, found = read_examples(path, DataConfig(bad_rows="skip"), said.append)
    assert len(found) == 2 and said[0] == f"data: {path}: 2 rows, preference, raw texts"
    assert said[1].startswith(
        f"data: 2 rows are left out, since they are not as they should be; the first: data: {path}"
    )
    with pytest.raises(DataError, match=r"holds no row; data: .*line 1 is no JSON"):
        read_examples(written(tmp_path, b"{"), DataConfig(bad_rows="skip"))


@pytest.mark.parametrize("form", FORMATS, ids=lambda form: form.name)
def test_every_format_reads_the_row_that_shows_it(form):
    columns = json.loads(form.shown)
    assert format_of(columns) is form
    example = example_of(form, columns)
    assert example.asked and all(answer.said for answer in example.answers)
