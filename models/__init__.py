"""The networks: backbones and their weights."""
