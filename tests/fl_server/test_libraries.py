"""What the processes of a simulation find imported."""

from pathlib import Path

import pytest

from fl_server.simulation import libraries_of
from fl_server.simulation_superlink import LIBRARIES, SuperLink


@pytest.mark.parametrize(
    "backbone, libraries",
    [("resnet18", ()), ("timm:test_efficientnet", ("timm",)), ("clip-rn50", ("open_clip",))],
)
def test_the_networks_library_is_imported_once(
    backbone: str, libraries: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the process that the others are forks of, from its start: each of them would take most of
    a second.
    """
    asked: list[tuple[str, ...]] = []
    monkeypatch.setattr(SuperLink, "_fork_server", lambda _: tmp_path / "socket")
    monkeypatch.setattr(
        "fl_server.simulation_superlink.prepare", lambda _, modules: asked.append(modules)
    )
    assert libraries_of(backbone) == libraries
    with SuperLink(tmp_path / "flower.log", libraries=libraries_of(backbone)):
        assert asked == [(*LIBRARIES, *libraries)]
