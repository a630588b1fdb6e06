"""FedAvg: the mean of the clients' weights is the next model.

The study (docs/study.md) takes every client in every round, all with equal weight.

BatchNorm's statistics take the mean, integers the largest value.
"""

from strategies.method import Method

METHOD = Method(
    title="FedAvg",
    paper="McMahan et al., Communication-Efficient Learning of Deep Networks from Decentralized "
    "Data, 2017",
    equation="Algorithm 1",
)
