"""What is timed, how, and what came out: ``make bench``."""
