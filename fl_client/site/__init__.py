"""A site: its key, its policy, and what stands between Flower and its data."""
