"""A config whose method, loss, data set or backbone comes from a package."""

from pathlib import Path

import numpy as np
import pytest
import torch

from operation.files import parse_toml
from strategies.methods import DEFAULT
from tests.packages import METHOD, Packages
from tests.support import first_weights, make_config
from training.config import DEFAULTS, ExperimentConfig, defaults, parse
from training.errors import ConfigError, RunFolderError, TrainingError
from training.extension_points import names_of_others, packages_of, plugins_of
from training.losses import loss_function
from training.model_file import ModelFile
from training.run_folder import RunFolder
from training.score_counts import ScoreCounts
from training.scores import score_block
from training.study import chosen, resolve

LOSS = "from training.losses import Loss\nLOSS = Loss(lambda counts, settings: sum)\n"


def complaint(**values: object) -> str:
    with pytest.raises(ConfigError) as caught:
        parse({key.replace("_", "-"): value for key, value in values.items()})
    return str(caught.value)


def test_a_packages_keys_are_keys_of_the_config(packages: Packages) -> None:
    packages.add_method()
    config = parse({"strategy": "step-size", "step-size": 0.5})
    assert isinstance(config, ExperimentConfig)
    assert config.to_flat()["step-size"] == 0.5
    assert parse(parse_toml(config.to_toml())) == config
    assert config.replace(seed=1).to_flat()["step-size"] == 0.5
    assert parse({"strategy": "step-size"}).to_flat() == defaults({"strategy": "step-size"})
    assert defaults({"strategy": "step-size"}) == {
        **DEFAULTS,
        "strategy": "step-size",
        "step-size": 1.0,
    }
    assert "step-size" in config.identity()


def test_its_values_are_checked_like_any_others(packages: Packages) -> None:
    packages.add_method()
    assert complaint(strategy="step-size", step_size=0.0, seed=-1) == (
        "seed = -1: allowed is greater than or equal to 0\n"
        "step-size = 0.0: allowed is greater than 0"
    )
    assert "step-size = 'x': allowed is a number" in complaint(strategy="step-size", step_size="x")
    assert "did you mean step-size?" in complaint(strategy="step-size", step_siz=1.0)
    assert "step-size: no such key" in complaint(step_size=1.0).replace(" = 1.0", "")
    assert complaint(strategy="stepsize").endswith(" or step-size; did you mean step-size?")


def test_a_broken_method_disturbs_only_who_asks_for_it(packages: Packages) -> None:
    packages.add_method("raise RuntimeError('out of order')")
    assert parse({}).strategy == DEFAULT
    assert defaults({}) == DEFAULTS
    assert complaint(strategy="step-size", seed=-1) == (
        "strategy = 'step-size': method 'step-size' of fedskin-example 1.0 cannot be loaded "
        "(RuntimeError: out of order); repair the package"
    )


@pytest.mark.parametrize(
    "keys, said",
    [
        ('{"rounds": Key(1)}', "its key 'rounds' is another key of fedskin; it needs another name"),
        ('{"proximal-mu": Key(1.0)}', "its key 'proximal-mu' is another key of fedskin"),
        ('{"step": Key(0.0, gt=0)}', "its key 'step' has a default outside its range"),
        ('{"step": Key(float("nan"))}', "its key 'step' has a default outside its range"),
        ('{"Step size": Key(1.0)}', "has 'Step size'; names are words of small letters"),
        ('{"step": Key("1")}', "has the key 'step', which is not a Key of numbers"),
        ('{"step": Key(1.0, gt="0")}', "has the key 'step', which is not a Key of numbers"),
        ('{"step": 1.0}', "has the key 'step', which is not a Key of numbers"),
        ("[1]", "has keys that are not a table"),
        ("{}, scalars=3", "has scalars that are not a table"),
        ("{}, server_step=3", "has a server_step that is not a function"),
        ('{}, ("c/d",)', "has 'c/d'; names are words"),
        ('{}, scalars={"num-steps": len}', "has the scalar 'num-steps', which is a metric of"),
    ],
)
def test_keys_that_a_method_cannot_have(packages: Packages, keys: str, said: str) -> None:
    packages.add_method(METHOD.replace('{"step-size": Key(1.0, gt=0)}', keys))
    found = complaint(strategy="step-size")
    assert "method 'step-size' of fedskin-example 1.0 cannot be used: " in found
    assert said in found


def add_loss(packages: Packages, keys: str, *, package: str = "other") -> None:
    text = (
        "from strategies.method import Key\nfrom training.losses import Loss\n"
        "def build(counts, settings):\n    return lambda z, _: z * settings['sharpness']\n"
        f"LOSS = Loss(build, keys={keys})\n"
    )
    packages.add({"loss_.py": text}, {"losses": {"new": "loss_:LOSS"}}, name=package)


def test_a_packages_loss_brings_its_keys(packages: Packages) -> None:
    packages.add_method()
    add_loss(packages, '{"sharpness": Key(2, ge=1), "focal-gamma": Key(2.0, ge=0)}')
    config = parse({"loss": "new", "sharpness": 3, "strategy": "step-size", "step-size": 0.5})
    flat = config.to_flat()
    assert (flat["sharpness"], flat["step-size"]) == (3, 0.5)
    assert loss_function(flat, np.array([1]))(torch.tensor(2), torch.tensor(0)) == 6
    assert parse(parse_toml(config.to_toml())) == config
    assert config.replace(seed=1).to_flat() == {**flat, "seed": 1}
    known = defaults({"loss": "new", "strategy": "step-size"})
    assert flat.keys() == known.keys() == DEFAULTS.keys() | {"sharpness", "step-size"}
    assert "step-size" in config.replace(loss="auto").to_flat()
    assert config.replace(loss="auto").to_flat().keys() == DEFAULTS.keys() | {"step-size"}
    assert config.replace(strategy=DEFAULT).to_flat().keys() == DEFAULTS.keys() | {"sharpness"}
    assert complaint(loss="new", sharpness=0) == (
        "sharpness = 0: allowed is greater than or equal to 1"
    )
    assert "sharpness = 3: no such key" in complaint(sharpness=3)
    resolved = resolve(config, dataset="ham10000", device="cpu", threads_per_client=1)
    said = chosen(resolved)
    assert (said["loss"], said["sharpness"], said["learning-rate"]) == ("new", 3, "auto")


@pytest.mark.parametrize(
    "keys, said",
    [
        ('{"rounds": Key(1)}', "its key 'rounds' is another key of fedskin; it needs another name"),
        ('{"focal-gamma": Key(1.0)}', "its key 'focal-gamma' is another key of fedskin"),
        ('{"step-size": Key(1.0)}', "its key 'step-size' is another one of strategy 'step-size'"),
        ('{"sharpness": Key(0, ge=1)}', "its key 'sharpness' has a default outside its range"),
        ('{"sharpness": 1.0}', "has the key 'sharpness', which is not a Key of numbers"),
        ('{"sharpness": Key(1.0, auto=True)}', "has the key 'sharpness', which is not a Key of"),
        ('{"Sharp": Key(1.0)}', "has 'Sharp'; names are words of small letters"),
        ("3", "has keys that are not a table"),
    ],
)
def test_keys_that_a_loss_cannot_have(packages: Packages, keys: str, said: str) -> None:
    packages.add_method()
    add_loss(packages, keys)
    found = complaint(loss="new", strategy="step-size")
    assert found.startswith("loss = 'new': loss 'new' of other 1.0 cannot be used: ")
    assert said in found


def test_a_key_that_another_method_declares_equally_is_shared(packages: Packages) -> None:
    packages.add_method(
        METHOD.replace('"step-size": Key(1.0, gt=0)', '"proximal-mu": Key(0.01, ge=0)')
    )
    assert parse({"strategy": "step-size"}).to_flat() == {**DEFAULTS, "strategy": "step-size"}


@pytest.mark.parametrize("key", ["loss", "dataset", "backbone", "best-by"])
def test_what_is_no_loss_and_no_library(packages: Packages, key: str) -> None:
    group = {"loss": "losses", "dataset": "datasets", "backbone": "backbones", "best-by": "scores"}[
        key
    ]
    packages.add({"example.py": "ENTRY = 3"}, {group: {"new": "example:ENTRY"}})
    if key == "dataset":  # it is loaded when its images are looked for
        assert parse({"dataset": "new"}).dataset == "new"
    else:
        value = "new:x" if key == "backbone" else "new"
        assert " 'new' of fedskin-example 1.0 cannot be used: example:ENTRY " in complaint(
            **{key: value}
        )


@pytest.mark.parametrize(
    "function, found",
    [
        ("counts.num_images", 2),
        ("None", None),
        ("float('nan')", "nan"),
        ("'high'", "'high'"),
        ("[1.0]", r"[1.0]"),
    ],
)
def test_a_packages_score_counts_where_it_is_asked_for(
    packages: Packages, function: str, found: object
) -> None:
    text = f"from training.scores import Score\nSCORE = Score(lambda counts: {function})\n"
    packages.add({"score_.py": text}, {"scores": {"new": "score_:SCORE"}})
    assert parse({"best-by": "new"}).best_by == "new"
    counts = ScoreCounts(np.eye(2, dtype=np.int64))
    assert "new" not in score_block(counts)
    if isinstance(found, str):
        with pytest.raises(TrainingError) as caught:
            score_block(counts, "new")
        assert str(caught.value) == f"best-by = 'new': returns {found}, not what a score returns"
    else:
        assert score_block(counts, "new") == {**score_block(counts), "new": found}


def test_the_plugins_of_a_config(packages: Packages) -> None:
    packages.add_method()
    packages.add({"loss_.py": LOSS}, {"losses": {"new": "loss_:LOSS"}}, name="other", version="2")
    assert plugins_of(parse({}).to_flat()) == {}
    values = parse({"strategy": "step-size", "loss": "new"}).to_flat()
    assert {key: plugin.owner for key, plugin in plugins_of(values).items()} == {
        "strategy": "fedskin-example 1.0",
        "loss": "other 2",
    }
    assert packages_of(values) == {"fedskin-example": "1.0", "other": "2"}


def test_a_name_that_is_also_fedskins_is_refused_when_a_run_asks_for_it(packages: Packages) -> None:
    packages.add_method(name=DEFAULT)
    config = parse({"strategy": DEFAULT})
    with pytest.raises(ConfigError, match="is in fedskin itself and in fedskin-example"):
        plugins_of(config.to_flat())
    assert plugins_of(parse({"strategy": "fedprox"}).to_flat()) == {}


def test_names_of_others_need_not_exist() -> None:
    values = {"strategy": "x", "dataset": "auto", "backbone": "y:z", "loss": 3, "seed": 1}
    assert names_of_others(values) == {"strategy": "x", "backbone": "y"}
    assert names_of_others(DEFAULTS) == {}
    assert names_of_others({"backbone": "timm:x"}) == names_of_others({"backbone": "x"}) == {}


@pytest.fixture
def folder(packages: Packages, tmp_path: Path) -> RunFolder:
    packages.add_method()
    folder = RunFolder(tmp_path / "run")
    folder.create(make_config(strategy="step-size"))
    return folder


def test_a_run_records_its_packages(folder: RunFolder, tmp_path: Path) -> None:
    assert folder.manifest() == {"plugins": {"fedskin-example": "1.0"}}
    folder.create(folder.config())
    others = RunFolder(tmp_path / "other")
    others.create(make_config())
    assert others.manifest() == {}


def test_a_run_does_not_go_on_with_another_version(folder: RunFolder, packages: Packages) -> None:
    for path in packages.folder.glob("*.dist-info/METADATA"):
        path.write_text(path.read_text().replace("1.0", "1.1"))
    packages.forget()
    with pytest.raises(RunFolderError) as caught:
        folder.create(folder.config())
    assert str(caught.value) == (
        f"{folder.path}: holds a run that began with fedskin-example 1.0, not fedskin-example 1.1; "
        "install that, or choose another folder"
    )


def test_another_method_is_another_config(folder: RunFolder) -> None:
    with pytest.raises(RunFolderError, match="holds a run of another config") as caught:
        folder.check_same(make_config())
    assert "strategy = 'step-size', not 'fedavg'; step-size = 1.0, not None" in str(caught.value)


def test_a_model_file_names_no_package_that_only_trained(folder: RunFolder, tmp_path: Path) -> None:
    """A hospital may have its plug-ins from the bundle alone; it classifies without them."""
    config, path = folder.config(), tmp_path / "model.safetensors"
    ModelFile(config, ("a", "b", "c"), first_weights(), None, "0" * 32, 1, False).save(path)
    assert ModelFile.load(path).config == config.replace(strategy=DEFAULT)
