"""torchvision's weights: read strictly, checked against their names, refused in one line."""

import hashlib
import subprocess
import sys
from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torchvision.models import get_model

import models.torchvision_provider
from models.backbones import build_backbone
from models.errors import WeightsError
from models.registry import BACKBONES, find_backbone
from models.torchvision_weights import load_pretrained, locate

SITE = "https://example.invalid/models"
# One of each family in the quick tests.
QUICK = {"convnext_t", "maxvit_t", "swin_t", "swin_v2_t", "resnet18"}
TORCHVISION = [spec.name for spec in BACKBONES.values() if spec.provider == "torchvision"]


def publish(content: Any, folder: Path, name: str = "net", **how: Any) -> str:
    """Save as torchvision does, the content's hash in the file's name; the URL it would have."""
    draft = folder / "draft"
    torch.save(content, draft, **how)
    digest = hashlib.sha256(draft.read_bytes()).hexdigest()
    return f"{SITE}/{draft.rename(folder / f'{name}-{digest[:8]}.pth').name}"


def file_of(url: str, folder: Path) -> Path:
    return folder / url.rsplit("/", 1)[1]


def network() -> nn.Sequential:
    """A network of torchvision's kind: a body with BatchNorm, and a classifier named fc."""
    torch.manual_seed(3)
    layers = {"body": nn.Linear(3, 4), "norm": nn.BatchNorm1d(4), "fc": nn.Linear(4, 1000)}
    return nn.Sequential(OrderedDict(layers))


def empty_trunk() -> nn.Sequential:
    with torch.device("meta"):
        trunk = network()
        trunk.fc = nn.Identity()
    return trunk


def read(url: str, folder: Path | None) -> nn.Sequential:
    trunk = empty_trunk()
    load_pretrained(trunk, locate(url, folder), head="fc")
    return trunk


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """torch.hub's folder of weights, not there yet, below tmp_path."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    return tmp_path / "torch" / "hub" / "checkpoints"


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=() if n in QUICK else pytest.mark.slow) for n in TORCHVISION]
)
def test_pretrained_backbone_is_torchvisions_network(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Our features, put through the file's own classifier, give torchvision's logits."""
    spec = find_backbone(name)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(4)
        theirs = get_model(spec.builder).eval()
        nn.init.normal_(theirs.get_submodule(spec.classifier).weight)  # vit's starts at zero
    url = publish(theirs.state_dict(), tmp_path, name)
    monkeypatch.setattr(models.torchvision_provider, "_weights_url", lambda _: url)

    size = spec.fixed_image_size or 64
    ours = build_backbone(
        name, 7, pretrained=True, image_size=size, seed=0, weights_dir=tmp_path
    ).eval()
    file_of(url, tmp_path).unlink()  # up to 1.2 GB, and pytest keeps the folders of three runs
    classifier = theirs.get_submodule(spec.classifier)
    images = torch.randn(1, 3, size, size, generator=torch.Generator().manual_seed(5))
    with torch.no_grad():
        logits = F.linear(ours.features(images), classifier.weight, classifier.bias)
        torch.testing.assert_close(logits, theirs(images), rtol=0, atol=0)
    assert not any(tensor.is_meta for tensor in ours.state_dict().values())
    assert all(parameter.requires_grad for parameter in ours.parameters())


def test_new_head_depends_on_the_seed_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    url = publish(get_model("resnet18").state_dict(), tmp_path)
    monkeypatch.setattr(models.torchvision_provider, "_weights_url", lambda _: url)

    def head(seed: int) -> torch.Tensor:
        model = build_backbone(
            "resnet18", 7, pretrained=True, image_size=64, seed=seed, weights_dir=tmp_path
        )
        return model.head.weight

    before = torch.get_rng_state()
    assert torch.equal(head(0), head(0))
    assert not torch.equal(head(0), head(1))
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("convnext_l", "convnext_large-ea097f82.pth"),
        ("resnet18", "resnet18-f37072fd.pth"),
        ("vit_l_16", "vit_l_16_lc_swag-4d563306.pth"),
    ],
)
def test_missing_file_is_named(name: str, file: str, tmp_path: Path) -> None:
    with pytest.raises(WeightsError) as caught:
        build_backbone(name, 7, pretrained=True, image_size=224, seed=0, weights_dir=tmp_path)
    message = str(caught.value)
    assert message == (
        f"weights-dir: {file} is not in {tmp_path}; download that file from "
        f"https://download.pytorch.org/models/{file}, or set pretrained = false"
    )


@pytest.mark.parametrize("modern", [True, False], ids=["zip", "before torch 1.6"])
def test_both_formats_are_read_and_the_file_may_go(modern: bool, tmp_path: Path) -> None:
    state = network().state_dict()
    url = publish(state, tmp_path, _use_new_zipfile_serialization=modern)
    trunk = read(url, tmp_path)
    file = file_of(url, tmp_path)
    file.write_bytes(bytes(file.stat().st_size))  # would show through a mapped tensor
    for key, tensor in trunk.state_dict().items():
        assert torch.equal(tensor, state[key])


def test_batch_norm_counters_absent_from_old_files_start_at_zero(tmp_path: Path) -> None:
    state = dict(network().state_dict())
    del state["norm.num_batches_tracked"]
    trunk = read(publish(state, tmp_path), tmp_path)
    assert trunk.norm.num_batches_tracked.item() == 0


def test_hubs_folder_serves_without_a_network(hub: Path) -> None:
    hub.mkdir(parents=True)
    url = publish(network().state_dict(), hub)
    assert torch.equal(read(url, None).body.weight, network().body.weight)


def test_a_missing_file_is_downloaded_into_hubs_folder(hub: Path, tmp_path: Path) -> None:
    url = publish(network().state_dict(), tmp_path)
    source = file_of(url, tmp_path)
    assert torch.equal(read(source.as_uri(), None).body.weight, network().body.weight)
    assert [path.name for path in hub.iterdir()] == [source.name]


def test_a_wrong_download_is_not_kept(hub: Path, tmp_path: Path) -> None:
    source = tmp_path / "net-00000000.pth"
    file_of(publish(network().state_dict(), tmp_path), tmp_path).rename(source)
    with pytest.raises(WeightsError, match=r"cannot download file:.*invalid hash"):
        read(source.as_uri(), None)
    assert not list(hub.iterdir())


@pytest.mark.usefixtures("hub")
def test_without_a_network_the_message_says_what_to_bring() -> None:
    # Port 1 of this machine: refused at once, as by a machine with no way out.
    with pytest.raises(WeightsError) as caught:
        read("http://127.0.0.1:1/net-0123abcd.pth", None)
    message = str(caught.value)
    assert message.startswith("pretrained: cannot download http://127.0.0.1:1/net-0123abcd.pth (")
    assert message.endswith(
        "); put net-0123abcd.pth into a folder and set weights-dir to it, or set pretrained = false"
    )
    assert "\n" not in message


def test_truncated_file_is_refused(tmp_path: Path) -> None:
    url = publish(network().state_dict(), tmp_path)
    file = file_of(url, tmp_path)
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(WeightsError, match="is damaged or another file: its SHA-256 begins"):
        read(url, tmp_path)


def test_unreadable_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    url = publish(network().state_dict(), tmp_path)

    def denied(*_: Any, **__: Any) -> Any:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", denied)  # file modes would not stop root
    with pytest.raises(WeightsError, match=r"cannot be read \(Permission denied\)$"):
        read(url, tmp_path)


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    other = network()
    other.add_module("extra", nn.Linear(2, 2))
    fewer = {k: t for k, t in network().state_dict().items() if k != "body.bias"}
    wider = {**network().state_dict(), "body.weight": torch.zeros(5, 3)}
    for state in (other.state_dict(), fewer, wider):
        with pytest.raises(WeightsError, match=r"holds the weights of another network$"):
            read(publish(state, tmp_path), tmp_path)


class Payload:
    """Unpickled, it would make a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[Any, tuple[Path]]:
        return Path.mkdir, (self.folder,)


@pytest.mark.parametrize("modern", [True, False], ids=["zip", "before torch 1.6"])
def test_code_in_a_file_is_not_run(modern: bool, tmp_path: Path) -> None:
    trace = tmp_path / "executed"
    url = publish({"w": Payload(trace)}, tmp_path, _use_new_zipfile_serialization=modern)
    with pytest.raises(WeightsError, match="is not a weight file") as caught:
        read(url, tmp_path)
    assert "\n" not in str(caught.value)
    assert not trace.exists()


@pytest.mark.parametrize("content", [[1, 2], {"epoch": 3}], ids=["list", "numbers"])
def test_a_file_without_tensors_is_refused(content: Any, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="no table of named tensors"):
        read(publish(content, tmp_path), tmp_path)


def test_bytes_that_are_no_torch_file_are_refused(tmp_path: Path) -> None:
    for content in (b"", b"<html>not found</html>"):
        digest = hashlib.sha256(content).hexdigest()
        (tmp_path / f"net-{digest[:8]}.pth").write_bytes(content)
        with pytest.raises(WeightsError, match="is not a weight file"):
            read(f"{SITE}/net-{digest[:8]}.pth", tmp_path)


def test_a_name_without_a_hash_is_refused(tmp_path: Path) -> None:
    torch.save(network().state_dict(), tmp_path / "net.pth")
    with pytest.raises(WeightsError, match=r"^net\.pth: the file's name does not end in a hash"):
        read(f"{SITE}/net.pth", tmp_path)


def test_to_find_weights_that_are_there_torch_is_not_imported(tmp_path: Path) -> None:
    """It takes seconds, and a simulation's own process needs it for nothing else."""
    (tmp_path / f"resnet18-{hashlib.sha256(b'').hexdigest()[:8]}.pth").touch()
    code = f"""
import sys
from pathlib import Path
from models import registry, torchvision_provider
(file,) = Path({str(tmp_path)!r}).iterdir()
torchvision_provider.FILES = {{"resnet18": file.name}}
assert registry.locate_pretrained("resnet18", file.parent) == file
print({{"torch", "torchvision"}} & sys.modules.keys())
"""
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout == "set()\n"
