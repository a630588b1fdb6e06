"""What is wrong with a config is said in lines, all of it at once."""

from typing import Any

import pytest

from strategies.methods import METHODS
from training.config import DEFAULTS, parse
from training.errors import ConfigError
from training.scores import SCORES


def faults_of(values: dict[str, Any]) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        parse(values)
    return str(caught.value).splitlines()


@pytest.mark.parametrize(
    "key, value, allowed",
    [
        ("strategy", "fedsgd", f"{', '.join([*METHODS][:-1])} or {[*METHODS][-1]}"),
        ("schedule", "linear", "constant, cosine or step"),
        ("warmup-rounds", -1, "greater than or equal to 0"),
        ("step-factor", 0, "greater than 0"),
        ("device", "tpu", "auto, cpu, cuda or mps"),
        ("pretrained", "yes", "true or false"),
        ("pretrained", 1, "true or false"),
        ("rounds", 0, "greater than or equal to 1"),
        ("rounds", 2.0, "an integer"),
        ("rounds", "9", "an integer"),
        ("seed", True, "an integer"),
        ("seed", -1, "greater than or equal to 0"),
        ("seed", 2**31, "less than 2147483648"),
        ("clients", 0, "greater than or equal to 1"),
        ("image-size", 15, "greater than or equal to 16"),
        ("image-size", 1025, "less than or equal to 1024"),
        ("proximal-mu", -0.1, "greater than or equal to 0"),
        ("proximal-mu", True, "a number"),
        ("proximal-mu", float("inf"), "a finite number"),
        ("dirichlet-alpha", 0, "greater than 0"),
        ("learning-rate", 0, "auto, or greater than 0"),
        ("learning-rate", "fast", "auto, or a number"),
        ("learning-rate", float("nan"), "auto, or a finite number"),
        ("weight-decay", -1, "auto, or greater than or equal to 0"),
        ("beta1", 1, "auto, or less than 1"),
        ("momentum", 1, "less than 1"),
        ("momentum", -0.1, "greater than or equal to 0"),
        ("best-by", "accuracy", f"{', '.join(SCORES)} or loss"),
        ("split", "published", "flamby, random or lesion-clean"),
        ("scaler", "minmax", "standard or none"),
        ("knn-neighbors", 0, "greater than or equal to 1"),
        ("svm-c", 0, "greater than 0"),
        ("svm-gamma", 0, "scale or auto, or greater than 0"),
        ("svm-gamma", "wide", "scale or auto, or a number"),
        ("forest-trees", 1.5, "an integer"),
        ("tune-heads", "grid", "true or false"),
        ("data-dir", 2019, "a string"),
        ("seed", [1], "an integer"),
    ],
)
def test_a_fault_is_one_line_with_key_value_and_what_is_allowed(
    key: str, value: object, allowed: str
) -> None:
    assert faults_of({key: value}) == [f"{key} = {value!r}: allowed is {allowed}"]


@pytest.mark.parametrize(
    "key, value, meant",
    [
        ("strategy", "fedpox", "fedprox"),
        ("dataset", "ham1000", "ham10000"),
        ("schedule", "cosin", "cosine"),
        ("best-by", "bac", "bacc"),
        ("partition", "Source", "source"),
        ("wire-format", "float_32", "float32"),
    ],
)
def test_the_name_that_was_meant_is_told_once(key: str, value: str, meant: str) -> None:
    [fault] = faults_of({key: value})
    assert fault.endswith(f"; did you mean {meant}?")
    assert fault.count("did you mean") == 1


@pytest.mark.parametrize(
    "key, meant",
    [("learningrate", "learning-rate"), ("image_size", "image-size"), ("head", "heads")],
)
def test_an_unknown_key_is_refused_with_the_one_that_was_meant(key: str, meant: str) -> None:
    assert faults_of({key: 3}) == [f"{key} = 3: no such key; did you mean {meant}?"]


def test_a_key_that_resembles_none_gets_the_list() -> None:
    known = ", ".join(DEFAULTS)
    assert faults_of({"wd": 3}) == [f"wd = 3: no such key; known are {known}"]


@pytest.mark.parametrize(
    "values, line",
    [
        (
            {"backbone": "vit_l_16", "image-size": 64},
            "image-size = 64: vit_l_16 takes images of 224 pixels only, not 64",
        ),
        (
            {"image-size": 16},
            "image-size = 16: convnext_t takes images of 32 pixels or more, not 16",
        ),
        (
            {"clients": 2, "min-replies": 3},
            "min-replies = 3: allowed are 0 to 2, the number of clients",
        ),
        (
            {"clients": 9, "clients-per-round": 2, "min-replies": 3},
            "min-replies = 3: allowed are 0 to 2, the number of clients of a round",
        ),
        (
            {"clients": 2, "clients-per-round": 3, "min-replies": 3},
            "clients-per-round = 3: allowed are 0, which means all, to 2, the number of clients",
        ),
        (
            {"dataset": "brats2019", "split": "flamby", "split-file": "x"},
            "split = 'flamby': allowed is random or lesion-clean with dataset = brats2019",
        ),
        (
            {"dataset": "brats2019", "split": "lesion-clean", "split-file": "x"},
            "split-file = 'x': there is no published split with dataset = brats2019",
        ),
        (
            {"dataset": "isic2019", "split": "flamby"},
            "split = 'flamby': name its train_test_split.csv as split-file",
        ),
        (
            {"split-file": "x"},
            "split-file = 'x': allowed with split = flamby or lesion-clean only; split = 'random'",
        ),
        (
            {"batch-size": 1},
            "batch-size = 1: allowed are 0 (the study's) and 2 or more, since BatchNorm cannot "
            "train on one image",
        ),
        (
            {"text-encoder": "BERT"},
            "text-encoder = 'BERT': no text encoder is called 'BERT'; known are ViT-L/14, RN50x16, "
            "RN50x64, ViT-B/32, RN50, open_clip:…",
        ),
        (
            {"optimizer": "adam", "momentum": 0.9},
            "momentum = 0.9: allowed with optimizer = sgd only, but optimizer = 'adam'",
        ),
        (
            {"objective": "clip", "momentum": 0.9},
            "momentum = 0.9: allowed with optimizer = sgd only, but optimizer = 'auto', which is "
            "adagrad here",
        ),
        (
            {"trainable": "lora", "backbone": "resnet18"},
            "trainable = 'lora': resnet18 has no attention and no linear layers to update; allowed "
            "are all, head and adapter",
        ),
        *(
            (
                {"augmented-views": 2, "trainable": trainable},
                "augmented-views = 2: allowed with trainable = head or adapter only, whose clients "
                f"keep features; trainable = {trainable!r}",
            )
            for trainable in ("all", "lora")
        ),
        *(
            (
                {"heads": named},
                f"heads = {named!r}: allowed are one or more of knn, svm, rf, each once, separated "
                "by commas",
            )
            for named in ("", "knn,knn", "svm,tree", "knn, svm", "knn,")
        ),
        (
            {"modalities": "t1,t1,flair"},
            "modalities = 't1,t1,flair': allowed are three of flair, t1, t1ce, t2, separated by "
            "commas: the network's three channels",
        ),
        *(
            (
                {"strategy": "scaffold", **keys},
                "strategy = 'scaffold': its formulas hold for SGD without momentum only; set "
                "optimizer = sgd and momentum = 0",
            )
            for keys in ({"optimizer": "adam"}, {"momentum": 0.9}, {"objective": "clip"})
        ),
        (
            {"strategy": "krum", "byzantine-clients": 1, "clients": 4},
            "clients = 4: strategy = 'krum' with its keys needs 5 replies in every round",
        ),
        (
            {"strategy": "bulyan", "byzantine-clients": 1, "clients": 8, "min-replies": 6},
            "min-replies = 6: strategy = 'bulyan' with its keys needs 7 replies in every round; "
            "allowed are 0 and 7 to 8",
        ),
        (
            {"strategy": "pooled", "clients-per-round": 2},
            "clients-per-round = 2: with strategy = 'pooled' one client trains, on the images of "
            "all; leave it out",
        ),
        (
            {"strategy": "median", "aggregation-weights": "examples"},
            "aggregation-weights = 'examples': strategy = 'median' counts every client once; set "
            "aggregation-weights = equal",
        ),
        (
            {"strategy": "fedper", "trainable": "head"},
            "trainable = 'head': with strategy = 'fedper' the head stays at the clients, so "
            "nothing would be shared",
        ),
        (
            {"precision": "bfloat16", "device": "cpu"},
            "precision = 'bfloat16': needs device = cuda, but device = 'cpu'",
        ),
    ],
)
def test_an_impossible_combination_is_one_line(values: dict[str, Any], line: str) -> None:
    assert faults_of(values) == [line]


def test_an_unknown_backbone_lists_the_known_ones() -> None:
    (line,) = faults_of({"backbone": "vgg16"})
    assert line.startswith("backbone = 'vgg16': ")
    assert "convnext_t, " in line
    assert "resnet18" in line


@pytest.mark.parametrize(
    "values",
    [
        {"backbone": "vit_l_16", "image-size": 224},
        {"image-size": 32},
        {"clients": 2, "min-replies": 2},
        {"batch-size": 2},
        {"trainable": "lora", "backbone": "clip-rn50", "image-size": 224},
        {"trainable": "adapter", "backbone": "resnet18", "augmented-views": 100},
        {"momentum": 0.9},  # auto is sgd
        {"momentum": 0, "optimizer": "adam"},
        {"strategy": "scaffold"},
        {"strategy": "scaffold", "objective": "clip", "optimizer": "sgd"},
        {"strategy": "fedper", "trainable": "adapter"},
        {"heads": "rf"},
        {"heads": "svm,knn"},
        {"precision": "bfloat16", "device": "cuda"},
        {"precision": "bfloat16", "device": "auto"},  # the machine decides
        {"clients": 1, "rounds": 1, "proximal-mu": 0, "weight-decay": 0, "beta1": 0},
    ],
)
def test_limits_that_are_allowed(values: dict[str, Any]) -> None:
    assert values.items() <= parse(values).to_flat().items()


def test_all_faults_are_reported_together() -> None:
    """Faults of single keys, an unknown key, and a combination of keys that are right alone."""
    lines = faults_of(
        {
            "rounds": "many",
            "head": "knn",
            "strategy": "fedsgd",
            "backbone": "vit_l_16",
            "image-size": 64,
            "clients": 2,
            "min-replies": 3,
        }
    )
    assert sorted(line.split(" = ")[0] for line in lines) == [
        *("head", "image-size", "min-replies", "rounds", "strategy")
    ]


def test_an_unknown_key_does_not_hide_a_combination_that_it_is_a_part_of() -> None:
    lines = faults_of({"image": 3, "image-size": 16})
    assert [line.split(" = ")[0] for line in lines] == ["image", "image-size"]


def test_a_combination_is_not_judged_by_the_default_of_a_faulty_key() -> None:
    """Without clients = 'five' there would be three, and four replies would be too many."""
    lines = faults_of({"clients": "five", "min-replies": 4})
    assert lines == ["clients = 'five': allowed is an integer"]
