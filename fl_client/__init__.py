"""The Flower ClientApp and its reactions to messages."""
