"""The Flower ServerApp and its operation."""
