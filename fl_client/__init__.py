"""The Flower ClientApp and what it does on a message."""
