"""``fedskin backbones``, and the table of sizes in the documentation."""

import subprocess
import sys
from pathlib import Path

import pytest

from experiments import backbones_command
from models.open_clip_provider import FILE_NAME
from models.registry import BACKBONES
from models.torchvision_provider import FILES

DOCS = Path(__file__).parents[2] / "docs" / "communication.md"


def test_the_documentation_has_the_table_of_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    backbones_command.backbones_command(markdown=True)
    assert f"\n\n{capsys.readouterr().out.strip()}\n\n" in DOCS.read_text(encoding="utf-8")


def test_a_row_counts_parameters_and_bytes() -> None:
    """convnext_t: a head of 7 (768 + 1) = 5,383 numbers, an adapter of 48 · 769 + 768 · 49 more.

    resnet18 has no layers for LoRA.
    """
    row = backbones_command._row("convnext_t")
    assert row[:6] == ["convnext_t", "27.8", "111", "0.005", "0.02", "0.02"]
    assert row[6:9] == ["0.080", "0.32", "0.29"]
    assert backbones_command._row("resnet18")[-3:] == ["–", "–", "–"]


def test_sizes_allowed_licence_and_weights_are_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / FILES["swin_b"]).touch()
    clip = BACKBONES["clip-rn50"].weights.rpartition("/")[2]
    (tmp_path / clip).mkdir()
    (tmp_path / clip / FILE_NAME).touch()
    monkeypatch.setattr(backbones_command, "console", backbones_command.Console(width=80))
    backbones_command.backbones_command(weights_dir=tmp_path)
    overview, _, sent = capsys.readouterr().out.partition("Millions")
    shown = [" ".join(line.split()) for line in overview.splitlines()[2:] if line.strip()]
    rows = {line.split()[0]: line for line in shown if not line.startswith("licence ")}
    said = dict(line.split(": ", 1) for line in shown if line.startswith("licence "))
    assert rows.keys() == BACKBONES.keys()
    for name, spec in BACKBONES.items():
        pixels = spec.fixed_image_size or "32 or more"
        here = "here" if name in ("swin_b", "clip-rn50") else "not here"
        (number,) = (key.split()[1] for key, licence in said.items() if licence == spec.licence)
        assert rows[name] == f"{name} {pixels} {here} {number}"
    assert all(name in sent for name in BACKBONES)


def test_eighty_columns_cut_no_figure(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(backbones_command, "console", backbones_command.Console(width=80))
    backbones_command.backbones_command()
    assert "…" not in capsys.readouterr().out


def test_other_models_are_explained_and_shown(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    backbones_command.backbones_command()
    shown = " ".join(capsys.readouterr().out.split())
    assert "timm:MODEL.TAG" in shown
    assert "open_clip:ARCHITECTURE.TAG" in shown
    (tmp_path / "test_efficientnet.safetensors").touch()
    backbones_command.backbones_command("timm:test_efficientnet", weights_dir=tmp_path)
    shown = " ".join(capsys.readouterr().out.split())
    for fact in ("features 256", "pixels 32 or more", "LoRA no", "licence timm, apache-2.0"):
        assert fact in shown
    assert "test_efficientnet.safetensors" in "".join(shown.split())


def test_the_list_needs_no_library() -> None:
    code = (
        "import sys; from experiments.backbones_command import backbones_command\n"
        "backbones_command()\n"
        "print({'torch', 'torchvision', 'timm', 'open_clip'} & sys.modules.keys())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True)
    assert done.stdout.splitlines()[-1] == "set()"
