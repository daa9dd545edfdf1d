"""What `spark-nas COMMAND` and `jobs/COMMAND.py` do: one file a command, each with its arguments and its function."""
