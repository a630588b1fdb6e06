"""The Flower ServerApp and the code that operates it."""
