"""Worker processes for worlds whose engine blocks."""
