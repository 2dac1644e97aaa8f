"""The reference pages are what `make docs` writes."""

import pytest

from make import docs


@pytest.fixture(scope="module")
def pages():
    return docs.pages()


@pytest.mark.parametrize("page", ["names.md", "papers.md", "configuration.md"])
def test_a_reference_page_is_what_the_code_says(pages, page):
    path = docs.DOCS / page
    assert path.read_text(encoding="utf-8") == pages[path], "run: make docs"


def test_every_setting_of_every_name_has_its_sentence(pages):
    rows = [line for line in pages[docs.DOCS / "names.md"].splitlines() if line.startswith("| `")]
    assert rows and not [row for row in rows if row.endswith("|  |")]


def test_a_default_is_shown_as_it_is_written_in_yaml():
    assert [docs.shown(value) for value in (True, None, "", (1, 2.5), "tags")] == [
        "true",
        "null",
        '""',
        "[1, 2.5]",
        "tags",
    ]
