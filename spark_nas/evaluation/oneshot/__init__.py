"""Methods that learn an architecture while they train shared weights; ordinary training is `Fixed`."""
