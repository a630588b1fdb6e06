"""What a person runs: one file per kind of experiment, and the command line."""
