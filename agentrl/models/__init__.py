"""Models: loading, tokenising and rendering, heads, adapters, saving."""
