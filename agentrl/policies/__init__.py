"""Policies: whatever replies to a view."""
