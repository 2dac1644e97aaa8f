"""Formats, one file each: how a view becomes messages and a reply becomes an action."""
