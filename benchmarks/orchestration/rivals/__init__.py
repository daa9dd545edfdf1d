"""One file a contestant: `search(workload, folder)` runs the workload as the tool's own documentation does it."""
