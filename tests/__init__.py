"""Tests, a folder a room; what several of them build on is imported as `tests.<file>`."""
