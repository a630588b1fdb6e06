"""When two trials are the same."""

from typing import Any

import pytest

from experiments.campaigns.trial import Trial
from training.config import parse
from training.experiment_data import DataFacts

FACTS = DataFacts("ham10000", "f" * 64, "e" * 64, ("mel", "nv"))


def trial(command: str = "simulate", **changes: Any) -> Trial:
    keys = {key.replace("_", "-"): value for key, value in changes.items()}
    return Trial(command, parse(keys), {})


def test_the_id_names_command_and_backbone_for_people() -> None:
    name = trial(backbone="swin_v2_t").id(FACTS)
    assert name.startswith("simulate-swin_v2_t-")
    assert len(name) == len("simulate-swin_v2_t-") + 12
    # A colon would end a path in a variable like PATH.
    assert trial(backbone="timm:test_vit").id(FACTS).startswith("simulate-timm-test_vit-")


@pytest.mark.parametrize(
    "changes",
    [
        {"data_dir": "/elsewhere"},
        {"test_dir": "/elsewhere"},
        {"weights_dir": "/elsewhere"},
        {"cache_dir": "/elsewhere"},
        {"run_dir": "/elsewhere"},
        # What `auto` stands for in the study, written out.
        {"dataset": "ham10000"},
        {"optimizer": "sgd", "learning_rate": 0.01, "batch_size": 32},
        {"min_replies": 2},
        {"accumulate_batches": 1},
    ],
)
def test_places_and_written_out_defaults_are_the_same_trial(changes: dict[str, Any]) -> None:
    assert trial(**changes).id(FACTS) == trial().id(FACTS)


@pytest.mark.parametrize(
    "changes",
    [
        {"seed": 1},
        {"optimizer": "adam"},
        {"rounds": 51},
        {"patience": 5},
        {"accumulate_batches": 2},
        {"ema_decay": 0.9},
        {"init_weights": "last"},
        {"init_from": "/runs/first"},
        {"threads_per_client": 4},
        {"device": "cuda"},
        {"command": "heads"},
    ],
)
def test_what_changes_the_result_is_another_trial(changes: dict[str, Any]) -> None:
    assert trial(**changes).id(FACTS) != trial().id(FACTS)


def test_other_images_are_another_trial() -> None:
    other_training = DataFacts("ham10000", "0" * 64, "e" * 64, ("mel", "nv"))
    other_test = DataFacts("ham10000", "f" * 64, None, ("mel", "nv"))
    assert len({trial().id(facts) for facts in (FACTS, other_training, other_test)}) == 3


def test_heads_that_differ_in_their_own_settings_share_a_network() -> None:
    five, fifteen = trial("heads"), trial("heads", knn_neighbors=15)
    assert five.id(FACTS) != fifteen.id(FACTS)
    assert five.network_key(FACTS) == fifteen.network_key(FACTS)
    assert five.network_key(FACTS) != trial("heads", seed=1).network_key(FACTS)


def test_patterns_match_as_values_are_written_after_c() -> None:
    swin = trial(backbone="swin_v2_t", pretrained=False, seed=3)
    assert swin.matches({"backbone": "swin_*"})
    assert swin.matches({"pretrained": "false", "seed": 3, "command": "simulate"})
    assert not swin.matches({"backbone": "swin_*", "seed": "4"})
    assert swin.matches({})
