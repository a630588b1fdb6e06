"""The command line, and one file for each kind of experiment."""
