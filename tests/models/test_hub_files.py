"""CLIP's weights: found in a folder, in the hub's cache, or missed in one line."""

from pathlib import Path

import pytest

from models.errors import WeightsError
from models.hub_files import HubFile, open_tensors
from models.open_clip_provider import FILE_NAME

REPOSITORY = "timm/resnet50_clip.openai"
FILE = HubFile(FILE_NAME, REPOSITORY)


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The hub's cache, empty, below tmp_path; the hub itself refuses, as without a network."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    # Port 1 of this machine: refused at once.
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:1")
    monkeypatch.setattr(
        constants,
        "HUGGINGFACE_CO_URL_TEMPLATE",
        "http://127.0.0.1:1/{repo_id}/resolve/{revision}/{filename}",
    )
    return tmp_path / "hub"


@pytest.mark.parametrize(
    "name", [f"resnet50_clip.openai/{FILE_NAME}", "resnet50_clip.openai.safetensors"]
)
def test_a_folder_serves_by_either_name(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.touch()
    assert FILE.locate(tmp_path) == path


@pytest.mark.parametrize("folder", ["", "not there"])
def test_a_missing_file_is_named_with_the_command_that_brings_it(
    folder: str, tmp_path: Path
) -> None:
    weights_dir = tmp_path / folder
    with pytest.raises(WeightsError) as caught:
        FILE.locate(weights_dir)
    assert str(caught.value) == (
        f"weights-dir: resnet50_clip.openai/{FILE_NAME} is not in {weights_dir}; get it with  "
        f"hf download {REPOSITORY} {FILE_NAME} --local-dir {weights_dir}/resnet50_clip.openai, "
        "or set pretrained = false"
    )


def test_openais_own_archives_are_not_read(tmp_path: Path) -> None:
    for name in ("RN50.pt", "ViT-L-14.pt"):
        (tmp_path / name).touch()
    with pytest.raises(WeightsError) as caught:
        FILE.locate(tmp_path)
    message = str(caught.value)
    assert "(OpenAI's TorchScript archives are not read: RN50.pt, ViT-L-14.pt); get it" in message
    assert "\n" not in message


def test_the_hubs_cache_serves_without_a_network(hub: Path) -> None:
    commit = "0" * 40
    repository = hub / "models--timm--resnet50_clip.openai"
    snapshot = repository / "snapshots" / commit
    snapshot.mkdir(parents=True)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(commit)
    (snapshot / FILE_NAME).touch()
    assert FILE.locate(None) == snapshot / FILE_NAME


@pytest.mark.timeout(20)  # the hub's own download would try for 23 seconds
@pytest.mark.usefixtures("hub")
def test_without_a_network_the_message_says_what_to_bring() -> None:
    with pytest.raises(WeightsError) as caught:
        FILE.locate(None)
    message = str(caught.value)
    assert message.startswith(
        f"pretrained: cannot download {FILE_NAME} of {REPOSITORY} from the hub ("
    )
    assert "refused" in message
    assert message.endswith(
        "); put it as resnet50_clip.openai.safetensors into a folder and set "
        "weights-dir to that folder, or set pretrained = false"
    )
    assert "\n" not in message


def test_what_is_no_safetensors_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("<html>not found</html>")
    for path in (tmp_path, tmp_path / "text", tmp_path / "not there"):
        with (
            pytest.raises(WeightsError, match=r"is not a safetensors file \(.+\)$") as caught,
            open_tensors(path),
        ):
            pass
        assert str(caught.value).startswith(f"{path} ")
