"""Which architecture and recipe next."""
