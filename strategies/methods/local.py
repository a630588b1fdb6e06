"""Local: each client trains alone, and nothing travels back; the floor of a federation.

Every client begins with the run's first weights and keeps its whole model, BatchNorm's statistics
and integers too; the global model stays the first one.
"""

from strategies.method import Method

METHOD = Method(
    title="Local",
    paper="Ogier du Terrail et al., FLamby: Datasets and Benchmarks for Cross-Silo Federated "
    "Learning in Realistic Healthcare Settings, 2022",
    equation="the baseline of local training",
    local=set,
)
