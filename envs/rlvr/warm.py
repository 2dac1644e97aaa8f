"""Imported where the workers that verify mathematics are forked from: what math-verify does first, it has done."""

import logging

from math_verify import LatexExtractionConfig, parse, verify

logging.getLogger("math_verify").setLevel(logging.CRITICAL)
CONFIG = (LatexExtractionConfig(try_extract_without_anchor=False, boxed_match_priority=0),)
"""What is looked at: what stands in a \\boxed{}, and nothing else."""


def parsed(text: str) -> list[object]:
    """What math-verify reads in a piece of LaTeX."""
    found: list[object] = parse(f"\\boxed{{{text}}}", extraction_config=CONFIG, parsing_timeout=None)
    return found


def same(gold: str, given: str) -> bool:
    """Does math-verify find both the same; without its own timeout."""
    return bool(verify(parsed(gold), parsed(given), timeout_seconds=None))


FIRST = [same("\\frac{1}{2}", "0.50"), same("(1, x^2 + \\sqrt{2})", "(\\pi, 2x)")]
"""The first two, which take a second."""
