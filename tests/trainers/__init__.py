"""Tests of the trainer: its update, its parts and algorithms, and runs from end to end."""
