"""Writes the reference pages of docs/ anew, from the code: every name, what can be set, every paper and its numbers."""

import dataclasses
import sys
from pathlib import Path
from typing import Any

from agentrl import registry
from agentrl.cli.documentation import first_line
from agentrl.settings import field_help

DOCS = Path(__file__).resolve().parent.parent / "docs"
if str(DOCS.parent) not in sys.path:  # run as a file, it sees its own folder alone
    sys.path.insert(0, str(DOCS.parent))
KINDS = {
    "env": ("Worlds", "`agentrl train --env NAME`; settings under `env_settings`."),
    "algorithm": ("Algorithms", "`--algo NAME`: each stands for its composition, which `agentrl explain NAME` shows."),
    "part": ("Parts", "`parts: {slot: NAME}`; settings under `settings: {SECTION: {...}}`."),
    "memory": ("Memories", "`--memory NAME`: what the agent sees of earlier turns; settings under `memory_settings`."),
    "format": ("Formats", "`--format NAME`: how a view becomes messages; settings under `format_settings`."),
    "curriculum": ("Curricula", "`curriculum: NAME`: which tasks come next; settings under `curriculum_settings`."),
    "verifier": ("Verifiers", "`env_settings.verifier=NAME` of the world `rlvr`: how an answer is judged."),
    "policy": ("Policies", "`agentrl eval --policy NAME`, `agentrl play --policy NAME`."),
}
HEAD = """# Every name

Written by `make docs` from the code. In the terminal, `agentrl list` shows the names of a kind, `agentrl explain NAME`
one of them with its settings. Third parties add names by entry points, and `module:attribute` stands for itself.
"""


def settings_class(kind: str, thing: Any) -> type | None:
    """The frozen dataclass whose fields can be set, or None."""
    own = {"env": "Config", "part": "config", "curriculum": "Config"}.get(kind)
    found = getattr(thing, own, None) if own else thing
    return found if isinstance(found, type) and dataclasses.is_dataclass(found) else None


def shown(value: Any) -> str:
    """A default as it is written in YAML."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (tuple, list)):
        return "[" + ", ".join(map(shown, value)) + "]"
    return "null" if value is None else '""' if value == "" else str(value)


def settings_table(cls: type) -> list[str]:
    """Rows of a Markdown table: setting, default, the text under the field."""
    rows = []
    texts = field_help(cls)
    for field in dataclasses.fields(cls):
        if field.default_factory is not dataclasses.MISSING:
            default = shown(field.default_factory())
        else:
            default = "required" if field.default is dataclasses.MISSING else shown(field.default)
        rows.append(f"| `{field.name}` | `{default}` | {texts.get(field.name, '').replace('|', chr(92) + '|')} |")
    return ["", "| setting | default | what it does |", "|---|---|---|", *rows] if rows else []


def names_page() -> str:
    """docs/names.md."""
    lines = [HEAD]
    for kind, (title, how) in KINDS.items():
        lines += [f"## {title}", "", how, ""]
        for name, path in registry.TABLES[kind].items():
            thing = registry.load(kind, name)
            group = f" ({thing.kind})" if kind == "part" else ""
            lines += [f"### `{name}`{group}", "", first_line(path)]
            cls = settings_class(kind, thing)
            if cls is not None:
                if kind == "part" and thing.settings_section != name:
                    lines += ["", f"Settings under `{thing.settings_section}`."]
                lines += settings_table(cls)
            lines.append("")
    return "\n".join(lines).rstrip() + "\n"


def configuration_page(page: str) -> str:
    """docs/configuration.md with its reference, from the heading `## The run` on, written anew."""
    from agentrl.cli.reference import settings_reference

    reference = settings_reference().strip()
    written_by_hand, _, _ = page.partition(reference.partition("\n")[0])
    return written_by_hand.rstrip() + "\n\n" + reference + "\n"


def pages() -> dict[Path, str]:
    """Page -> what it must hold."""
    from make.papers import papers_page
    from tests.golden.verdicts import recorded

    configuration = DOCS / "configuration.md"
    return {
        DOCS / "names.md": names_page(),
        DOCS / "papers.md": papers_page(recorded()),
        configuration: configuration_page(
            configuration.read_text(encoding="utf-8") if configuration.exists() else "# Configuration"
        ),
    }


def main() -> int:
    from tests.golden import verdicts

    verdicts.write()
    for page, text in pages().items():
        changed = not page.exists() or page.read_text(encoding="utf-8") != text
        page.write_text(text, encoding="utf-8")
        print(f"{page.relative_to(DOCS.parent)}: {'written anew' if changed else 'as it was'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
