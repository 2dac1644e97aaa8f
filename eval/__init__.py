"""Statistics and batch evaluation."""
