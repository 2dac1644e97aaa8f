"""The index of papers, docs/papers.md: citation, equations, command, composition and golden numbers of each, from code.

What a paper's file says of itself is its docstring: indented blocks are its equations, and from the first sentence on
that tells what was read, released, recalled or is ours, the prose is about where it comes from.
"""

import importlib
import inspect
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agentrl import registry
from agentrl.cli.documentation import first_line
from agentrl.cli.explain import mathematics
from agentrl.composition import MANY, SLOTS, Composition, compose_parts
from tests.golden.subjects import SUBJECTS
from tests.golden.verdicts import Verdict

HEAD = """# Every paper

Written by `make docs` from the code: what each file says of its paper, and how far its numbers are from others'.
`agentrl explain NAME` shows the same with every setting; [algorithms and their parts](algorithms.md) says how they are
combined, [add a paper](add_a_paper.md) how one more is written.

**Golden numbers** are inputs and outputs of the authors' and of others' functions, or worked out by hand, that our
functions are run on; [where they come from](../tests/golden/README.md) is told beside them. What is shown is a bound on
the largest relative difference over all cases, of the tolerance that the file allows: `≤ 1e-12 of 1e-9`. All is in
double precision; why a tolerance is above 1e-9 is told there too, mostly small numbers that released code adds. `python
-m tests.golden FILE...` prints every case. Where a paper has no file of its own, the table says how many of its parts
are held by one.

Where a paper learns from data alone, its command names this file, in the place of yours:

```bash
cat > preferences.jsonl <<'END'
{"prompt": "2 + 2 =", "reference": "4", "chosen": " four", "rejected": " five"}
{"prompt": "1 + 2 =", "reference": "3", "chosen": " three", "rejected": " five"}
END
```
"""
ARGUMENTS: Mapping[str, str] = {
    "craft-gui": "--set curriculum=stages",
    "dapo": "--set settings.overlong.max_length=200 --set settings.overlong.buffer=50",
    "eapo": "--memory workspace --format report",
    "kl-cov": "--set trainer.minibatches=4",
    "polar": "--set settings.polar.separator='<act>' --set settings.polar.end='<end>'",
    "tgdpo": "--set guidance=runs/dpo",
    "mdpo": "--set trainer.epochs=4",
    "mdpo-off-policy": "--set trainer.epochs=4",
    "dynamic-sampling": "--algo dapo",
    "gae": "--algo ppo",
    "above-greedy": "--algo reinforce",
    "gmpo": "--set parts.aggregate=turn-mean",
    "signal-scaled": "--set parts.surrogate=policy-gradient",
}
"""What a run of a paper has beside its own name."""
ROOT = Path(__file__).resolve().parent.parent
SOURCE = re.compile(
    r"\bours\b|at hand|(was|were|both) read|recalled|released|derived|formulas|^From |was not found|^Of the paper only",
    re.IGNORECASE,
)
"""A sentence that says where something comes from."""


@dataclass(frozen=True, kw_only=True)
class Text:
    """A docstring in its pieces."""

    title: str
    lead: str
    """What is said before the equations."""
    equations: tuple[str, ...]
    meaning: str
    """What the equations mean; paragraphs."""
    source: str
    """What was read, and what is ours or departs from the paper."""


def text_of(docstring: str) -> Text:
    """Its first paragraph without the number of the paper, its indented blocks, and its prose, cut at the source."""
    title, *paragraphs = docstring.strip("\n").split("\n\n")
    lead, equations, meaning, source = [], [], [], []
    first = next((i for i, paragraph in enumerate(paragraphs) if paragraph.startswith("    ")), 0)
    for place, paragraph in enumerate(paragraphs):
        lines = paragraph.splitlines()
        if place < first:
            lead.append(" ".join(line.strip() for line in lines))
            continue
        if all(line.startswith("    ") for line in lines):
            equations.append("\n".join(line[4:] for line in lines))
            continue
        sentences = re.split(r"(?<=[.:]) (?=[A-Z`\d])", " ".join(line.strip() for line in lines))
        cut = 0 if source else next((i for i, said in enumerate(sentences) if SOURCE.search(said)), len(sentences))
        meaning += [" ".join(sentences[:cut])] if cut else []
        source += [" ".join(sentences[cut:])] if cut < len(sentences) else []
    heading = re.sub(r",? ?\(?\(?(?:\w[\w ]*, )?(?:arXiv )?\d{4}\.\d{5}\)?", "", " ".join(title.split()))
    return Text(
        title=heading.rstrip(".") + ".",
        lead="\n\n".join(lead),
        equations=tuple(equations),
        meaning="\n\n".join(meaning),
        source="\n\n".join(source),
    )


def prose(text: str) -> str:
    """Plain text as Markdown: what is no code and would be read as markup is escaped."""
    pieces = re.split(r"(`[^`]*`)", text)
    return "".join(piece if piece.startswith("`") else re.sub(r"([<*|\[\]])", r"\\\1", piece) for piece in pieces)


def order(bound: float) -> str:
    """`1e-9`."""
    return f"{bound:.0e}".replace("e-0", "e-")


def year_of(citation: str) -> str:
    """`2025`: of its arXiv number, or as it is written."""
    number = re.search(r"arXiv (\d\d)\d\d\.", citation)
    written = re.search(r"\b(?:19|20)\d\d\b", citation)
    return f"20{number[1]}" if number else written[0] if written else ""


def linked(citation: str) -> str:
    return re.sub(r"arXiv (\d{4}\.\d{5})", r"[arXiv \1](https://arxiv.org/abs/\1)", prose(citation))


@dataclass(frozen=True, kw_only=True)
class Paper:
    """One entry of the index."""

    kind: str
    name: str
    value: Any
    path: str

    @property
    def citation(self) -> str:
        return str(self.value.citation)

    @property
    def module(self) -> Any:
        return importlib.import_module(self.path.partition(":")[0])

    @property
    def file(self) -> str:
        return self.module.__name__.removeprefix("agentrl.").replace(".", "/") + ".py"

    @property
    def command(self) -> str:
        """A run of it."""
        further = ARGUMENTS.get(self.name, "")
        if self.kind == "algorithm" and self.value.learns_from == "data":
            return f"agentrl train --data preferences.jsonl --algo {self.name} --model tiny-random {further}".rstrip()
        if self.kind == "algorithm":
            words = [f"--algo {self.name}"]
        else:
            chosen = f"parts.{self.slot}={'+' * (self.slot in MANY)}" if self.kind == "part" else "curriculum="
            words = ["" if "--algo" in further else "--algo grpo", f"--set {chosen}{self.name}"]
        return " ".join(word for word in ("agentrl train --env guess", *words, further) if word)

    @property
    def slot(self) -> str:
        return next(slot for slot, kind in SLOTS.items() if kind == self.value.kind)

    def composition(self) -> Composition:
        return compose_parts(self.value, {}, {})


def papers() -> list[Paper]:
    """Every registered algorithm, curriculum and part that is a paper's, in the order of the registry."""
    return [
        Paper(kind=kind, name=name, value=value, path=path)
        for kind in ("algorithm", "curriculum", "part")
        for name, path in registry.TABLES[kind].items()
        if "no paper's" not in (getattr(value := registry.load(kind, name), "citation", "") or "no paper's")
    ]


def files_of(kind: str, name: str, verdicts: Mapping[str, Verdict]) -> dict[str, Verdict]:
    """Golden file -> verdict, of those that hold the name."""
    field = {"algorithm": "algorithms", "curriculum": "curricula", "part": "parts"}[kind]
    return {file: verdict for file, verdict in verdicts.items() if name in getattr(verdict.subject, field)}


def held(paper: Paper, verdicts: Mapping[str, Verdict]) -> str:
    """The verdict on a paper: of its own files, or how many of its parts have some."""
    own = files_of(paper.kind, paper.name, verdicts)
    exact = {file: verdict for file, verdict in own.items() if verdict.algo != "agents.json"} or own
    if exact:
        return _worst(exact)
    if paper.kind != "algorithm":
        return "none"
    parts = [part.name for part in paper.composition()]
    return f"of its parts, {sum(bool(files_of('part', part, verdicts)) for part in parts)} of {len(parts)}"


def _worst(files: Mapping[str, Verdict]) -> str:
    worst = max(files.values(), key=lambda verdict: verdict.difference)
    return f"≤ {order(worst.difference)} of {order(worst.tolerance)}, {len(files)} file{'s' * (len(files) > 1)}"


def index(found: list[Paper], verdicts: Mapping[str, Verdict]) -> Iterator[str]:
    yield from ("| name | paper | year | kind | golden numbers |", "|---|---|---|---|---|")
    for paper in found:
        cited = linked(paper.citation).rstrip(".")
        yield f"| [`{paper.name}`](#{paper.name}) | {cited} | {year_of(paper.citation)} | {paper.kind} | " + (
            f"{held(paper, verdicts)} |"
        )
    for function in functions():
        name, cited = function.rpartition(":")[2], _cited_by(function)
        own = {file: verdict for file, verdict in verdicts.items() if function in verdict.subject.functions}
        yield f"| [`{name}`](#{name}) | {linked(cited)} | {year_of(cited)} | function | {_worst(own)} |"


def functions() -> list[str]:
    """Mathematics of papers that no part binds."""
    return [function for subject in SUBJECTS.values() for function in subject.functions]


def _docstring(function: str) -> str:
    module, _, name = function.partition(":")
    return inspect.getdoc(getattr(importlib.import_module(module), name)) or ""


def _cited_by(function: str) -> str:
    return _docstring(function).splitlines()[-1].rstrip(".")


def section(paper: Paper, verdicts: Mapping[str, Verdict], seen: dict[str, str]) -> Iterator[str]:
    """What is told of one paper. seen: file -> name of the entry that told of it before."""
    yield f"### {paper.name}\n"
    if paper.kind == "part":
        yield prose(first_line(paper.path).rstrip(".")) + ".\n"
    told = seen.setdefault(paper.path.partition(":")[0], paper.name)
    text = text_of(inspect.getdoc(paper.module) or "")
    whole = paper.kind != "part" or bool(text.equations)
    if whole and told == paper.name:
        yield prose(text.title) + "\n"
    yield f"{linked(paper.citation)} In [`{paper.file}`](../{paper.file}).\n"
    if told != paper.name and whole:
        yield f"Equations and source: [{told}](#{told}).\n"
    elif whole:
        if text.lead:
            yield prose(text.lead) + "\n"
        for block in text.equations:
            yield f"```text\n{block}\n```\n"
        if text.meaning:
            yield prose(text.meaning) + "\n"
        if text.source:
            yield f"**Source, and what is ours.** {prose(text.source)}\n"
    else:
        for name, said in mathematics(paper.value.bind):
            if "`" in said or "=" in said.splitlines()[0]:
                yield f"```text\n{name}\n" + "\n".join(f"    {line}".rstrip() for line in said.splitlines()) + "\n```\n"
    yield f"```bash dry-run\n{paper.command}\n```\n"
    if paper.kind == "algorithm":
        yield from _composition(paper, verdicts)
    own = files_of(paper.kind, paper.name, verdicts)
    shown = ", ".join(f"`{file}` ≤ {order(verdict.difference)}" for file, verdict in own.items())
    yield f"Golden files of its own: {shown}.\n" if own else "No golden file is its own.\n"
    test = f"tests/{paper.file.rpartition('/')[0]}/test_{paper.file.rpartition('/')[2]}"
    if whole and (ROOT / test).exists():
        yield f"By hand: [`{test}`](../{test}).\n"


def _composition(paper: Paper, verdicts: Mapping[str, Verdict]) -> Iterator[str]:
    composition = paper.composition()
    yield "| slot | part | golden files of the part |"
    yield "|---|---|---|"
    for slot, parts in composition.parts.items():
        for part in parts:
            off = " (off)" if part.name in composition.idle else ""
            files = ", ".join(f"`{file}`" for file in files_of("part", part.name, verdicts))
            yield f"| {slot} | `{part.name}`{off} | {files or '-'} |"
    yield ""
    settings = {section: dict(values) for section, values in paper.value.settings.items()}
    if settings:
        shown = ", ".join(f"`{s}.{name}: {value}`" for s, own in settings.items() for name, value in own.items())
        yield f"Set by the paper's file: {shown}.\n"


def golden_files(verdicts: Mapping[str, Verdict]) -> Iterator[str]:
    """The table of all of them."""
    yield from ("| file of tests/golden | cases | largest difference | tolerance | holds |", "|---|---|---|---|---|")
    for file, verdict in verdicts.items():
        subject = verdict.subject
        names = dict.fromkeys([*subject.algorithms, *subject.curricula, *subject.parts])
        holds = ", ".join(f"`{name}`" for name in [*names, *(f.rpartition(":")[2] for f in subject.functions)])
        yield f"| `{file}` | {verdict.cases} | ≤ {order(verdict.difference)} | {order(verdict.tolerance)} | {holds} |"


def papers_page(verdicts: Mapping[str, Verdict]) -> str:
    """docs/papers.md."""
    found = papers()
    lines = [HEAD, *index(found, verdicts), ""]
    seen: dict[str, str] = {}
    for kind, title in (("algorithm", "Algorithms"), ("curriculum", "Curricula"), ("part", "Parts that are papers")):
        lines.append(f"## {title}\n")
        for paper in found:
            if paper.kind == kind:
                lines += section(paper, verdicts, seen)
    if functions():
        lines.append("## Functions that no part binds\n")
    for function in functions():
        module, _, name = function.partition(":")
        file = module.removeprefix("agentrl.").replace(".", "/") + ".py"
        lines += [f"### {name}\n", f"```text\n{_docstring(function)}\n```\n", f"In [`{file}`](../{file}).\n"]
    lines += ["## Golden files\n", *golden_files(verdicts), ""]
    return "\n".join(lines).rstrip() + "\n"
