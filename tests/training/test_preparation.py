"""What a config's check leaves to the backbone's library is checked before images are decoded."""

import subprocess
import sys

import pytest

from training.config import parse
from training.errors import ConfigError
from training.preparation import check_backbone


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"backbone": "timm:resnet19"},
            "backbone = 'timm:resnet19': timm has no model 'resnet19'; did you mean resnet1",
        ),
        (
            {"backbone": "timm:test_vit", "image-size": 192},
            "backbone = 'timm:test_vit', image-size = 192: timm:test_vit takes images of 160 "
            "pixels only, not 192",
        ),
        (
            {"backbone": "timm:test_efficientnet", "trainable": "lora"},
            "trainable = 'lora': timm:test_efficientnet has no attention and no linear layers",
        ),
        (
            {"backbone": "timm:inception_resnet_v2", "image-size": 32},
            "backbone = 'timm:inception_resnet_v2', image-size = 32: timm:inception_resnet_v2 "
            "cannot take images of 32 pixels (",
        ),
        (  # it is a language model's eye
            {"backbone": "timm:gemma4_vit_167m_enc", "image-size": 240},
            "backbone = 'timm:gemma4_vit_167m_enc', image-size = 240: timm:gemma4_vit_167m_enc "
            "does not end in one feature vector an image",
        ),
    ],
)
def test_what_only_the_library_knows(changes: dict, message: str) -> None:
    config = parse(changes)  # nothing to say yet
    with pytest.raises(ConfigError) as caught:
        check_backbone(config)
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


def test_a_config_is_checked_without_a_library() -> None:
    code = (
        "import sys; from training.config import parse\n"
        "parse({'backbone': 'timm:tf_efficientnet_lite0', 'image-size': 192})\n"
        "parse({'backbone': 'open_clip:RN50', 'text-encoder': 'open_clip:RN50'})\n"
        "print({'torch', 'torchvision', 'timm', 'open_clip'} & sys.modules.keys())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True)
    assert done.stdout == "set()\n"


def test_a_backbone_that_fits_passes() -> None:
    for values in ({"backbone": "timm:test_efficientnet", "image-size": 33}, {}):
        assert check_backbone(parse(values)) is None
