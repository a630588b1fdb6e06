"""Every method with every objective, trained part and wire format."""

from itertools import product

import pytest

from strategies.methods import METHODS
from training.config import parse
from training.errors import ConfigError

OBJECTIVES, WIRE = ("classifier", "clip"), ("float32", "bfloat16", "int8")


@pytest.mark.parametrize("trainable", ["all", "head", "adapter", "lora"])
@pytest.mark.parametrize("strategy", METHODS)
def test_a_combination_is_valid_or_refused_with_a_reason(strategy: str, trainable: str) -> None:
    method = METHODS[strategy]
    for objective, wire_format in product(OBJECTIVES, WIRE):
        keys = {
            "strategy": strategy,
            "trainable": trainable,
            "objective": objective,
            "wire-format": wire_format,
        }
        wanted = set()
        if method.sgd_only and objective == "clip":  # whose optimizer is Adam
            wanted.add("its formulas hold for SGD without momentum only")
        if trainable == "head" and method.local_names(("trunk", "head.weight")) == {"head.weight"}:
            wanted.add("nothing would be shared")
        try:
            parse(keys)
            said: list[str] = []
        except ConfigError as error:
            said = str(error).splitlines()
        assert len(said) == len(wanted)
        assert all(any(reason in line for line in said) for reason in wanted)
