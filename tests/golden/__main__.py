"""`python -m tests.golden FILE...`: run golden files against our parts; exit code 1 beyond a tolerance."""

import sys
from pathlib import Path

from tests.golden.compare import UnknownAlgo, compare


def main(paths: list[str]) -> int:
    if not paths:
        sys.stderr.write("usage: python -m tests.golden FILE...\n")
        return 2
    failed = 0
    for path in paths:
        try:
            results = compare(Path(path))
        except UnknownAlgo as error:
            sys.stderr.write(f"{path}: {error}\n")
            return 2
        for result in results:
            verdict = "" if result.passed else "  BEYOND THE TOLERANCE"
            sys.stdout.write(f"{result.algo}  {result.case}  {result.difference:.1e}{verdict}\n")
            failed += not result.passed
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
