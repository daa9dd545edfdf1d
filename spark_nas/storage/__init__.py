"""What a run leaves: its record, its results table, its checkpoints."""
