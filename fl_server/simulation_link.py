"""The SuperLink of a simulation, as a fork: Flower's own program.

This file imports what the program needs, for the fork server.
"""

from operation.flower_internals import create_superlink_app, flower_superlink

__all__ = ["create_superlink_app", "flower_superlink"]
