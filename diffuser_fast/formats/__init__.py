"""File -> Checkpoint."""
