"""Pooled: all clients' training images in one place; the ceiling of a federation.

The first client trains on the training images of all; every client judges the model on its own
validation and test images. That is possible in a simulation only: hospitals' images do not move.
BatchNorm's statistics and integers are those of the one model.
"""

from strategies.method import Method
from strategies.methods.local import METHOD as LOCAL

METHOD = Method(
    title="Pooled",
    paper=LOCAL.paper,
    equation="the baseline of pooled training",
    pooled=True,
)
