"""STYLE rule 17: every command and snippet of the documentation does what the page says."""

import re

import pytest

from tests.house.pages import TESTED, UNTESTED, Block, Wrong, blocks, commands, exchanges, run, take
from tests.house.project import ROOT, name

PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "SECURITY.md", *sorted((ROOT / "docs").rglob("*.md"))]
LINK = re.compile(r"\]\((?!https?://|mailto:)([^)#\s]+)?(?:#([\w-]+))?\)")


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_command_and_snippet_of_a_page_does_what_it_says(page, tmp_path):
    for block in blocks(page):
        take(block, tmp_path)


@pytest.mark.parametrize("page", [*PAGES, ROOT / "CHANGELOG.md"], ids=name)
def test_every_link_of_a_page_leads_somewhere(page):
    for path, anchor in LINK.findall(page.read_text(encoding="utf-8")):
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), f"{path} is not there"
        if anchor:
            headings = re.findall(r"^#+ (.*)$", target.read_text(encoding="utf-8"), re.MULTILINE)
            anchors = {re.sub(r"[^\w\- ]", "", heading).strip().lower().replace(" ", "-") for heading in headings}
            assert anchor in anchors, f"{path} has no heading #{anchor}"


def test_the_index_leads_to_every_page():
    docs = ROOT / "docs"
    pages = {str(page.relative_to(docs)) for page in docs.rglob("*.md")} - {"index.md"}
    assert pages <= {path for path, _ in LINK.findall((docs / "index.md").read_text(encoding="utf-8"))}


@pytest.mark.parametrize("page", [*PAGES, ROOT / "CHANGELOG.md"], ids=name)
def test_no_page_has_a_hole(page):
    text = page.read_text(encoding="utf-8")
    assert not re.search(r"TODO|FIXME|XXX|<!-- lead|coming soon", text, re.IGNORECASE)


def test_every_language_is_either_tested_or_shown_only():
    assert not set(TESTED) & set(UNTESTED)


def test_commands_are_joined_and_comments_dropped():
    text = "# first\nagentrl list \\\n  envs\n\ncat > a.py <<'END'\n# kept\nx = 1\nEND\nls  # here\n"
    assert commands(text) == ["agentrl list envs", "cat > a.py <<'END'\n# kept\nx = 1\nEND", "ls  # here"]
    assert exchanges("$ echo a\na\n$ echo b\n") == [("echo a", ["a"]), ("echo b", [])]


@pytest.mark.parametrize(
    ("language", "marks", "text", "wrong"),
    [
        ("bash", "", "exit 3", "ended with 3"),
        ("bash", "", "agentrl lst envs", "did you mean 'list'"),
        ("bash", "dry-run", "agentrl eval --env guess --polcy random", "polcy"),
        ("bash", "dry-run", "agentrl eval --env gess --policy api:NAME", "did you mean 'guess'"),
        ("bash", "norun", "make train", "needs a reason"),
        ("bash", "norun long", "agentrl train", "can be run"),
        ("bash", "norun long", "make trian", "no such target"),
        ("bash", "sometimes", "true", "unknown fence"),
        ("console", "", "$ printf 'a\\nb\\nc\\n'\na\nc", "prints 'b' where the page has 'c'"),
        ("python", "", "raise SystemExit(4)", "ended with 4"),
        ("python", "norun GPU", "from agentrl.types import Tusk", "has no Tusk"),
        ("basic", "", "10 PRINT", "unknown fence"),
    ],
)
def test_a_page_that_is_wrong_is_found(language, marks, text, wrong, tmp_path):
    with pytest.raises(Wrong, match=f"line 7: .*{wrong}"):
        take(Block(7, language, marks, text + "\n"), tmp_path)


def test_a_page_that_is_right_passes(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(
        "Text.\n```bash norun a machine of its own\nmake train ARGS='--seed 1'\n```\n"
        "```python module=own.py\nNUMBER = 3\n```\n```python\nimport own\nprint(own.NUMBER)\n```\n"
        "```console\n$ cat own.py\n...\n$ printf 'a\\nb\\nc\\n'\na\n...\nc\n```\n```yaml\na: 1\n```\n"
    )
    found = list(blocks(page))
    assert [block.language for block in found] == ["bash", "python", "python", "console", "yaml"]
    for block in found:
        take(block, tmp_path)


def test_a_shell_line_runs_where_the_page_stands(tmp_path):
    run("A=1 printf x > file && test -s file", tmp_path)
    assert (tmp_path / "file").read_text() == "x"
