"""The config: its defaults, how it is read, and what is one and the same."""

import tomllib
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from experiments.app_config import with_defaults
from strategies.methods import KEYS
from training.config import DEFAULTS, ExperimentConfig, parse
from training.config_file import read_config
from training.errors import ConfigError

ROOT = Path(__file__).parents[2]


SHIPPED = sorted((ROOT / "experiments" / "configs").glob("*.toml"))


def test_defaults_are_the_studys() -> None:
    """50 rounds of one local epoch over three clients, equal weights; μ = 0.01; 224 pixels."""
    config = ExperimentConfig()
    assert (config.rounds, config.local_epochs, config.clients, config.epochs) == (50, 1, 3, 50)
    assert (config.strategy, config.aggregation_weights) == ("fedavg", "equal")
    assert (config.to_flat()["proximal-mu"], config.client_optimizer) == (0.01, "fresh")
    assert (config.backbone, config.pretrained, config.image_size) == ("convnext_t", True, 224)
    assert (config.partition, config.split_by, config.seed) == ("iid", "image", 0)
    assert (config.dataset, config.optimizer, config.learning_rate) == ("auto", "auto", "auto")


def test_pyproject_has_every_key_with_its_default_and_type() -> None:
    """Flower lets a run override only what stands there; 0 is not 0.0 and not false."""
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert with_defaults(text) == text, "make app-config"
    pyproject = tomllib.loads(text)
    table = pyproject["tool"]["flwr"]["app"]["config"]
    assert [(key, type(value), value) for key, value in table.items()] == [
        (key, type(value), value) for key, value in ExperimentConfig().to_flat().items()
    ]


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_shipped_configs_load(path: Path) -> None:
    values = tomllib.loads(path.read_text(encoding="utf-8"))
    config = read_config(path).to_flat()
    assert values.items() <= config.items()


def test_there_are_shipped_configs() -> None:
    assert "demo" in {path.stem for path in SHIPPED}


def test_overrides_stand_above_the_file(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text('rounds = 7\nstrategy = "fedprox"\nseed = 3\n', encoding="utf-8")
    assert read_config(path).rounds == 7
    config = read_config(path, ["rounds=9", "backbone=swin_t"])
    assert (config.rounds, config.strategy, config.seed) == (9, "fedprox", 3)
    assert config.backbone == "swin_t"


@pytest.mark.parametrize(
    "override, key, value",
    [
        ("strategy=fedprox", "strategy", "fedprox"),  # a bare word
        ("strategy = fedprox ", "strategy", "fedprox"),
        ("strategy='fedprox'", "strategy", "fedprox"),
        ("text-encoder=RN50x16", "text-encoder", "RN50x16"),
        ("pretrained=false", "pretrained", False),
        ("rounds=9", "rounds", 9),
        ("learning-rate=1e-3", "learning-rate", 0.001),
        ("learning-rate=auto", "learning-rate", "auto"),
        ("data-dir=/some where/a=b#c", "data-dir", "/some where/a=b#c"),
        ("data-dir=2019", "data-dir", "2019"),  # folders whose names are TOML values
        ("data-dir=0x10", "data-dir", "0x10"),
        ("data-dir=2019-05-27", "data-dir", "2019-05-27"),
        ("weights-dir=true", "weights-dir", "true"),
        ("init-from=7", "init-from", "7"),
        ('data-dir="2019"', "data-dir", "2019"),
        ("test-dir=", "test-dir", ""),
    ],
)
def test_values_of_overrides(override: str, key: str, value: object) -> None:
    found = read_config(None, [override]).to_flat()[key]
    assert (type(found), found) == (type(value), value)


def test_a_source_may_be_called_by_a_number() -> None:
    assert read_config(None, ["partition=source", "leave-out=1"]).leave_out == "1"


def test_the_last_of_two_overrides_counts() -> None:
    assert read_config(None, ["seed=1", "seed=2"]).seed == 2


def test_no_file_and_no_override_is_the_default() -> None:
    assert read_config(None) == ExperimentConfig()


@pytest.mark.parametrize("key", ["proximal-mu", "learning-rate", "dirichlet-alpha", "svm-gamma"])
def test_an_integer_is_a_number(key: str) -> None:
    value = parse({key: 1}).to_flat()[key]
    assert (type(value), value) == (float, 1.0)


def test_a_file_that_cannot_be_read_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"missing.toml: cannot be read: No such file"):
        read_config(tmp_path / "missing.toml")
    broken = tmp_path / "broken.toml"
    broken.write_text("rounds 7", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"^[^\n]*broken.toml: is not a TOML file: [^\n]*$"):
        read_config(broken)
    broken.write_bytes(b'data-dir = "\xff"')
    with pytest.raises(ConfigError, match="is not a TOML file: save it as UTF-8"):
        read_config(broken)


def test_a_file_may_begin_as_windows_editors_write_it(tmp_path: Path) -> None:
    file = tmp_path / "skin.toml"
    file.write_text("rounds = 7\n", encoding="utf-8-sig")
    assert read_config(file).rounds == 7


def test_sections_are_told_not_to_be_there(tmp_path: Path) -> None:
    file = tmp_path / "skin.toml"
    file.write_text("[train]\nrounds = 7\n", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"^\[train\]: a config has no sections; write the keys"):
        read_config(file)


def test_an_override_without_equals_sign_is_refused(tmp_path: Path) -> None:
    """Also if what was meant as its value is read as the config's path."""
    for path in (None, tmp_path):
        with pytest.raises(ConfigError, match=r"^-c data-dir: write it as key=value$"):
            read_config(path, ["data-dir"])


def test_a_config_is_frozen() -> None:
    config = ExperimentConfig()
    with pytest.raises(ValidationError, match="frozen"):
        config.rounds = 2  # type: ignore[misc]


def test_identity_leaves_out_what_computes_nothing() -> None:
    here = parse({"run-dir": "/a", "cache-dir": "/b", "allow-overlap": True, "data-dir": "/data"})
    there = parse({"run-dir": "/c", "data-dir": "/data"})
    assert here != there
    assert here.identity() == there.identity()
    apart = {"run-dir", "cache-dir", "allow-overlap", "round-timeout"}
    assert here.identity().keys() == DEFAULTS.keys() - apart
    assert here.identity() != parse({"data-dir": "/other"}).identity()


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"data-dir": 'C:\\data "new"\nfolder', "learning-rate": 0.1 + 0.2, "pretrained": False},
        {"learning-rate": 1e-30, "weight-decay": 3, "beta1": 0.9, "seed": 2**31 - 1},
    ],
)
def test_toml_and_back(values: dict[str, Any]) -> None:
    config = parse(values)
    assert parse(tomllib.loads(config.to_toml())) == config


def test_replace_checks_too() -> None:
    config = parse({"seed": 4})
    changed = config.replace(image_size=64, rounds=2)
    assert (changed.image_size, changed.rounds, changed.seed) == (64, 2, 4)
    assert config.rounds == 50
    with pytest.raises(ConfigError, match=r"^rounds = 0"):
        config.replace(rounds=0)


def test_every_key_is_documented() -> None:
    """Those of methods in the methods' own table."""
    text = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")
    assert [key for key in DEFAULTS if key not in KEYS and f"`{key}`" not in text] == []
    text = (ROOT / "docs" / "methods.md").read_text(encoding="utf-8")
    assert [key for key in KEYS if f"`{key}`" not in text] == []
