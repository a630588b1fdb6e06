"""A site: its key, its policy, and the guard between Flower and its data."""
