"""The bytes that travel, derived by hand; a slow test compares them with a run's own."""

from typing import Any

from experiments.planning.traffic import Traffic, traffic
from models.part_sizes import PART_SIZES
from tests.support import make_config

CLASSES = 7
# Of resnet18, with 512 features: weights, biases, and their bytes as one array with its header.
HEADER = 128
HEAD = 4 * (512 * CLASSES + CLASSES) + HEADER


def of(**keys: Any) -> Traffic:
    return traffic(make_config(backbone="resnet18", trainable="head", **keys), CLASSES)


def test_a_head_travels_as_one_array_each_way() -> None:
    assert of() == Traffic(down=HEAD, up=HEAD, judged=HEAD)


def test_int8_is_a_byte_for_each_weight_and_a_scale_for_each_channel() -> None:
    """Seven rows of weights with a scale each; the seven biases stay float32."""
    int8 = 512 * CLASSES + HEADER
    assert of(wire_format="int8").up == int8 + 4 * (CLASSES + CLASSES) + HEADER
    assert of(wire_format="int8").down == HEAD


def test_what_a_method_carries_travels_beside_the_weights() -> None:
    """SCAFFOLD's control of the server, as long as the weights, but not to be judged."""
    both = 2 * (HEAD - HEADER) + HEADER
    assert of(strategy="scaffold", optimizer="sgd", min_replies=3) == Traffic(both, both, HEAD)


def test_of_what_stays_at_clients_the_first_values_are_sent_and_nothing_returns() -> None:
    assert of(strategy="local") == Traffic(down=HEAD, up=0, judged=HEAD)


def test_text_features_are_in_every_message_of_clip() -> None:
    """A head of 512 numbers for ViT-B/32; its text features of seven classes, and a scale."""
    head = 4 * (512 * 512 + 512) + HEADER
    text = 4 * CLASSES * 512 + HEADER + 8 + HEADER
    found = of(objective="clip", optimizer="adagrad", text_encoder="ViT-B/32")
    assert found == Traffic(down=head + text, up=head, judged=head + text)


def test_a_whole_network_is_what_backbones_lists() -> None:
    """Its floats are one array, and BatchNorm's counters, integers, another."""
    found = traffic(make_config(backbone="resnet18"), CLASSES)
    assert found.up == PART_SIZES["resnet18"]["all"].num_bytes + 2 * HEADER
