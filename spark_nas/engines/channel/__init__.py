"""How a worker session asks the driver for its next job: one authenticated socket each (docs/channel.md)."""
