"""Mathematics that algorithms share, one file a kind of part."""
