"""The games of the tests' panels, made beforehand: a compiler's second each is saved. `main` makes them anew."""

import json
import lzma
import sys
import zlib
from pathlib import Path

KEPT = Path(__file__).parent / "data" / "textworld" / "games.xz"
"""For each game a line of JSON (file, size), then as many bytes of what the cache holds, not compressed by itself."""


def unpack(cache: Path) -> None:
    """Put them where the world looks for games; those of another version of TextWorld are not found there."""
    rest = lzma.decompress(KEPT.read_bytes())
    while rest:
        first, _, rest = rest.partition(b"\n")
        head = json.loads(first)
        file = cache / head["file"]
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(zlib.compress(rest[: head["size"]], 1))
        rest = rest[head["size"] :]


def main(cache: Path) -> None:
    """Make the games of both panels in a cache folder that is empty, and keep them."""
    from agentrl.envs import textworld
    from agentrl.envs.textworld.games import cached_file, load
    from tests.envs.test_conformity import SETTINGS

    parts: list[bytes] = []
    for settings in (settings for name, settings in SETTINGS if name == "textworld"):
        config = textworld.Config(**settings, cache=str(cache))
        for task in (task for split in textworld.SPLITS for task in textworld.tasks(split, config)):
            load(task.data)
            file = cached_file(task.data)
            content = zlib.decompress(file.read_bytes())
            head = {"file": file.relative_to(cache).as_posix(), "size": len(content)}
            parts.append(json.dumps(head).encode() + b"\n" + content)
    KEPT.parent.mkdir(exist_ok=True)
    KEPT.write_bytes(lzma.compress(b"".join(parts), preset=9 | lzma.PRESET_EXTREME))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
