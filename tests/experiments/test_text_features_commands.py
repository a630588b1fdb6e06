"""Text features are one small file, and any fault in it is reported in one line."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from data_partition.datasets import dataset_choice, find_dataset
from data_partition.ham10000_tables import HAM10000_CLASSES
from experiments import cli
from experiments.text_features_commands import app
from models.errors import WeightsError
from models.text_features import TextFeatures, open_text_features, prompts
from tests.models import clip_models
from training.errors import ConfigError

TEXT = ("-c", f"text-encoder={clip_models.ENCODER}")
RANDOM = (*TEXT, "-c", "pretrained=false")


def run(*arguments: str | Path) -> str:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if result.exception:
        raise result.exception
    return result.stdout


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "own cache"))
    clip_models.make_small(monkeypatch)


def test_exported_features_serve_a_site_without_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = clip_models.make_small(monkeypatch)
    weights = clip_models.bring(model, tmp_path / "weights")
    file = tmp_path / "skin.safetensors"
    output = run(
        "export", file, *TEXT, "-c", "dataset=ham10000", "-c", f"weights-dir={tmp_path}/weights",
        "-c", f"cache-dir={tmp_path}/here",
    )  # fmt: skip
    assert "ViT-B/32, weights: openai\n  a picture of a actinic keratosis\n" in output
    assert output.endswith(f"Wrote {file}\n")
    weights.unlink()

    output = run("import", file, "-c", f"cache-dir={tmp_path}/there")
    assert "  a picture of a vascular lesion\n" in output
    found = open_text_features(
        clip_models.ENCODER,
        prompts(find_dataset("ham10000").names_in_words(HAM10000_CLASSES)),
        pretrained=True,
        weights_dir=tmp_path,
        seed=0,
        cache_dir=tmp_path / "there",
    )
    assert found.features.tobytes() == TextFeatures.load(file).features.tobytes()


def test_export_takes_a_config_file_and_the_users_own_cache(tmp_path: Path) -> None:
    config = tmp_path / "brain.toml"
    config.write_text('dataset = "brats2019"\npretrained = false\ntext-encoder = "ViT-B/32"\n')
    output = run("export", tmp_path / "brain", config, "-c", "seed=3")
    assert "weights: random, seed 3" in output
    assert TextFeatures.load(tmp_path / "brain").prompts == (
        "a picture of a high grade glioblastoma",
        "a picture of a low grade glioma",
    )
    assert len(list((tmp_path / "own cache" / "fedskin" / "text-features").iterdir())) == 1


def test_the_data_set_is_recognised(synthetic_ham: Path, tmp_path: Path) -> None:
    run("export", tmp_path / "file", *RANDOM, "-c", f"data-dir={synthetic_ham}")
    assert len(TextFeatures.load(tmp_path / "file").prompts) == 7


def test_without_data_the_data_set_is_to_be_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        run("export", tmp_path / "file", *RANDOM)
    assert str(caught.value) == (
        f"dataset = 'auto': without a data-dir, set dataset to {dataset_choice()}"
    )


def test_an_unsound_file_is_not_imported(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("<html>not found</html>")
    with pytest.raises(WeightsError, match="is not a valid file of text features"):
        run("import", tmp_path / "file", "-c", f"cache-dir={tmp_path}/there")
    assert not (tmp_path / "there").exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            ["export", "file", "-c", "text-encoder=ViT-H/14"],
            "text-encoder = 'ViT-H/14': no text encoder",
        ),
        (["export", "file", "-c", "dataset=ham10000", "-c", "weights-dir=."], "weights-dir: vit_l"),
        (["import", "file"], "cannot be read"),
    ],
)
def test_what_a_person_can_mend_is_one_line_and_status_2(
    arguments: list[str],
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["fedskin", "text-features", *arguments])
    with pytest.raises(SystemExit) as caught:
        cli.main()
    assert caught.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert said in line


@pytest.mark.parametrize("command", ["export", "import"])
def test_help_has_examples(command: str) -> None:
    assert f"fedskin text-features {command}" in run(command, "--help")
