"""What a run needs and how long it takes, before it starts: one run's, and a campaign's trials'."""
