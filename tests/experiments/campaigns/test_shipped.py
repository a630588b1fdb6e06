"""The campaigns that come with fedskin: the study's grids, no more and no less."""

from collections import Counter
from itertools import product
from pathlib import Path

import pytest

from experiments.campaigns.campaign_file import Campaign, read_campaign
from experiments.planning.estimate import num_evaluations
from strategies.methods import METHODS
from training.config import ExperimentConfig
from training.study import resolve

SHIPPED = Path(__file__).parents[3] / "experiments" / "campaigns"

# The study's table of backbones.
BACKBONES = {
    *("convnext_t", "convnext_s", "convnext_b", "convnext_l", "maxvit_t", "vit_l_16"),
    *("swin_t", "swin_s", "swin_b", "swin_v2_t", "swin_v2_s", "swin_v2_b"),
}

# The study's table of optimizers: learning rate, weight decay, betas where there are any.
OPTIMIZERS = {
    "sgd": (0.01, 0.0005),
    "adam": (0.001, 0.02, 0.9, 0.98),
    "adamw": (0.001, 0.02, 0.9, 0.98),
    "adagrad": (0.001, 0.0005),
    "adadelta": (0.001, 0.0005),
}


def shipped(name: str) -> Campaign:
    return read_campaign(SHIPPED / f"{name}.toml")


def resolved(campaign: Campaign) -> list[ExperimentConfig]:
    """Every trial's config as it would be on a machine with a GPU."""
    return [
        resolve(trial.config, dataset=trial.config.dataset, device="cuda", threads_per_client=1)
        for trial in campaign.trials
    ]


def grid(campaign: Campaign, *keys: str) -> Counter[tuple]:
    return Counter(tuple(t.config.to_flat()[key] for key in keys) for t in campaign.trials)


def evaluations(campaign: Campaign) -> int:
    return sum(num_evaluations(trial.command, trial.config) for trial in campaign.trials)


def assert_study_optimizer(config: ExperimentConfig) -> None:
    values = OPTIMIZERS[config.optimizer]
    found = (config.learning_rate, config.weight_decay, config.beta1, config.beta2)
    assert found[: len(values)] == values


@pytest.mark.parametrize("name", ["task2-federated", "communication"])
def test_no_round_is_closed_without_a_hospital(name: str) -> None:
    for trial in shipped(name).trials:
        assert trial.config.min_replies == trial.config.clients == 3


def test_every_shipped_file_is_a_campaign_of_its_own_name() -> None:
    """Reading one checks the config of every trial in it."""
    names = {path.stem for path in SHIPPED.glob("*.toml")}
    assert names == {
        *("task1-clip", "task2-federated", "task3-heads", "communication", "smoke"),
        *("benchmark-ham10000", "benchmark-isic2019"),
    }
    for name in names:
        assert shipped(name).name == name


def test_task1_is_every_backbone_against_every_text_on_both_data_sets() -> None:
    campaign = shipped("task1-clip")
    texts = ("ViT-L/14", "RN50x16", "RN50x64")
    wanted = product(BACKBONES, texts, ("ham10000", "brats2019"))
    assert grid(campaign, "backbone", "text-encoder", "dataset") == Counter(wanted)
    assert evaluations(campaign) == 72 == 12 * 3 * 2
    assert {trial.command for trial in campaign.trials} == {"clip"}
    for config in resolved(campaign):
        assert (config.optimizer, config.batch_size, config.epochs) == ("adagrad", 16, 50)
        assert (config.objective, config.loss) == ("clip", "contrastive")
        assert (config.image_size, config.pretrained) == (224, True)
        assert_study_optimizer(config)


def test_task2_is_every_backbone_strategy_and_optimizer_over_three_hospitals() -> None:
    campaign = shipped("task2-federated")
    wanted = product(BACKBONES, ("fedavg", "fedprox"), OPTIMIZERS)
    assert grid(campaign, "backbone", "strategy", "optimizer") == Counter(wanted)
    assert evaluations(campaign) == 120 == 12 * 2 * 5
    assert {trial.command for trial in campaign.trials} == {"simulate"}
    for config in resolved(campaign):
        assert (config.dataset, config.objective) == ("ham10000", "classifier")
        assert (config.clients, config.partition, config.split_by) == (3, "iid", "image")
        assert (config.rounds, config.local_epochs, config.batch_size) == (50, 1, 32)
        assert (config.aggregation_weights, config.to_flat()["proximal-mu"]) == ("equal", 0.01)
        assert (config.image_size, config.pretrained) == (224, True)
        assert_study_optimizer(config)


def test_task2_has_the_labs_optimizers_as_a_variant() -> None:
    """Which --only asks for; the 120 themselves stay the study's."""
    campaign = shipped("task2-federated")
    assert {trial.config.client_optimizer for trial in campaign.trials} == {"fresh"}
    assert {trial.config.min_replies for trial in campaign.trials} == {3}
    more = campaign.asked([("client-optimizer", "persistent")]).trials[120:]
    assert [t.config.replace(client_optimizer="fresh") for t in more] == [
        trial.config for trial in campaign.trials
    ]
    assert {trial.config.client_optimizer for trial in more} == {"persistent"}


def test_no_other_shipped_campaign_has_a_variant() -> None:
    for name in ("task1-clip", "task3-heads", "communication", "smoke"):
        assert shipped(name).variants == ()


@pytest.mark.parametrize("path", sorted(SHIPPED.glob("task*.toml")), ids=lambda path: path.stem)
def test_a_file_of_the_study_names_it(path: Path) -> None:
    head = " ".join(path.read_text(encoding="utf-8").split("name =")[0].replace("#", "").split())
    assert "Deep Modeling and Optimization of Medical Image Classification" in head
    assert "arXiv 2505.23040, code AIPMLab/SkinCancerSimulation" in head
    assert "docs/study.md" in head


@pytest.mark.parametrize(("name", "hospitals"), [("ham10000", 4), ("isic2019", 6)])
def test_a_benchmark_compares_methods_with_being_alone_and_with_everything_pooled(
    name: str, hospitals: int
) -> None:
    """All else is equal, or a difference would not be the method's; no lesion is in two splits."""
    methods = Counter[tuple[object, ...]]()
    for trial in shipped(f"benchmark-{name}").trials:
        config = trial.config
        assert (config.partition, config.clients) == ("source", hospitals)
        assert "lesion" in (config.split_by, config.split.partition("-")[0])
        assert (config.optimizer, config.momentum) == ("sgd", 0.0)
        methods[config.strategy, config.backbone, config.trainable, config.loss, config.seed] += 1
    assert set(methods.values()) == {1}
    heads = {(strategy, loss) for strategy, _, part, loss, _ in methods if part == "head"}
    left_out = {"fedper", "fedbn"}  # of a head alone, nothing would travel, or nothing stay
    four = ("cross-entropy", "balanced", "logit-adjusted", "focal")
    assert heads == set(product(METHODS.keys() - left_out, four))
    settings = {whole[1:] for whole in methods}
    for other in ("local", "pooled", "fedavg"):
        assert {(other, *rest) for rest in settings} <= methods.keys()


def test_task3_is_every_backbone_with_knn_and_svm() -> None:
    """Network, +KNN, +SVM: three evaluations of each."""
    campaign = shipped("task3-heads")
    assert grid(campaign, "backbone") == Counter((name,) for name in BACKBONES)
    assert evaluations(campaign) == 36 == 12 * 3
    assert {trial.command for trial in campaign.trials} == {"heads"}
    for config in resolved(campaign):
        assert (config.dataset, config.objective) == ("ham10000", "classifier")
        assert config.heads == "knn,svm"
        assert (config.optimizer, config.batch_size, config.epochs) == ("sgd", 32, 50)
        assert (config.image_size, config.pretrained) == (224, True)
        assert_study_optimizer(config)


def test_communication_is_all_that_travels_in_every_way() -> None:
    """A large and a small backbone, so that bytes spread over three orders of magnitude."""
    campaign = shipped("communication")
    wanted = product(
        ("fedavg", "fedprox"),
        ("all", "head", "adapter", "lora"),
        ("float32", "bfloat16", "int8"),
        ("convnext_l", "swin_t"),
    )
    found = grid(campaign, "strategy", "trainable", "wire-format", "backbone")
    assert found == Counter(wanted)
    assert {trial.command for trial in campaign.trials} == {"simulate"}
    for config in resolved(campaign):
        assert (config.dataset, config.objective) == ("ham10000", "classifier")
        assert (config.clients, config.rounds, config.image_size) == (3, 50, 224)
        assert_study_optimizer(config)


@pytest.mark.parametrize("name", ["task1-clip", "task2-federated", "task3-heads", "communication"])
def test_study_leaves_to_the_machine_what_is_the_machines(name: str) -> None:
    """No study file sets folders, devices or cores; one run of everything, with seed 0."""
    for trial in shipped(name).trials:
        assert (trial.config.data_dir, trial.config.test_dir, trial.config.weights_dir) == ("",) * 3
        assert (trial.config.device, trial.config.threads_per_client) == ("auto", 0)
        assert trial.config.seed == 0


def test_smoke_is_all_three_tasks_with_three_backbones_each_and_an_adapter() -> None:
    """Three, since a spider plot needs three corners; and no weights from the network."""
    campaign = shipped("smoke")
    kinds = grid(campaign, "dataset", "strategy", "objective")
    assert kinds == {
        ("ham10000", "fedavg", "clip"): 3,
        ("brats2019", "fedavg", "clip"): 3,
        ("ham10000", "fedavg", "classifier"): 3 + 3 + 1,  # simulate, heads and the adapter
        ("ham10000", "fedprox", "classifier"): 3,
    }
    assert {trial.command for trial in campaign.trials} == {"clip", "simulate", "heads"}
    assert not any(trial.config.pretrained for trial in campaign.trials)
