"""What the agent sees each turn, one file each."""
