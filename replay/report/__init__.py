"""The report of a replay: one HTML file that needs nothing else."""
