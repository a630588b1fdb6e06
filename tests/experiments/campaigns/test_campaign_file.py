"""A campaign file becomes trials, and all its errors are reported at once."""

from pathlib import Path

import pytest

from experiments.campaigns.campaign_file import read_campaign
from operation.text import known_names
from training.config import DEFAULTS
from training.errors import ConfigError

SMALL = """
name = "small"
seeds = [0, 1]

[base]
image-size = 64

[[part]]
command = "simulate"
base = {rounds = 2}
grid = {backbone = ["resnet18", "swin_t"], strategy = ["fedavg", "fedprox"]}
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "campaign.toml"
    path.write_text(text, encoding="utf-8")
    return path


def faults(folder: Path, text: str, *overrides: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        read_campaign(write(folder, text), overrides)
    return str(caught.value).splitlines()


def test_trials_are_the_product_of_grid_and_seeds_in_the_files_order(tmp_path: Path) -> None:
    campaign = read_campaign(write(tmp_path, SMALL))
    assert campaign.name == "small"
    found = [(t.config.backbone, t.config.strategy, t.config.seed) for t in campaign.trials]
    assert found == [
        (backbone, strategy, seed)
        for backbone in ("resnet18", "swin_t")
        for strategy in ("fedavg", "fedprox")
        for seed in (0, 1)
    ]
    assert {(t.config.image_size, t.config.rounds) for t in campaign.trials} == {(64, 2)}


def test_a_part_goes_over_the_base_and_the_command_line_over_both(tmp_path: Path) -> None:
    text = SMALL.replace("rounds = 2", "rounds = 2, image-size = 96")
    assert {t.config.image_size for t in read_campaign(write(tmp_path, text)).trials} == {96}
    overridden = read_campaign(write(tmp_path, text), ["image-size=128"])
    assert {t.config.image_size for t in overridden.trials} == {128}


def test_a_part_may_have_seeds_of_its_own(tmp_path: Path) -> None:
    other = '\n[[part]]\ncommand = "simulate"\nseeds = [5]'
    trials = read_campaign(write(tmp_path, SMALL + other)).trials
    assert [t.config.seed for t in trials] == [0, 1] * 4 + [5]
    assert faults(tmp_path, SMALL + other.replace("[5]", "[]")) == [
        f"{tmp_path / 'campaign.toml'}: part.1.seeds: is empty; list at least one"
    ]


def test_exclusions_match_values_and_patterns(tmp_path: Path) -> None:
    text = SMALL + '\nexclude = [{backbone = "swin_*", strategy = "fedprox"}, {seed = 1}]'
    found = [
        (t.config.backbone, t.config.strategy) for t in read_campaign(write(tmp_path, text)).trials
    ]
    assert found == [("resnet18", "fedavg"), ("resnet18", "fedprox"), ("swin_t", "fedavg")]


VARIED = (
    SMALL
    + """
variant = [{client-optimizer = "persistent"}, {partition = "dirichlet", dirichlet-alpha = 0.1}]
exclude = [{partition = "dirichlet", backbone = "swin_*"}]
"""
)


@pytest.mark.parametrize(
    "only, added",
    [
        ([], []),
        ([("backbone", "swin_*")], []),  # no key that makes a variant
        ([("client-optimizer", "fresh")], []),
        ([("client-optimizer", "persistent")], ["persistent"] * 8),
        ([("client-optimizer", "*"), ("seed", "0")], ["persistent"] * 8),
        ([("partition", "dir*")], [0.1] * 4),  # without swin_t
        ([("dirichlet-alpha", "0.1")], [0.1] * 4),
        ([("dirichlet-alpha", "0.5")], []),
    ],
)
def test_a_variant_is_the_grid_again_and_is_run_when_asked_for(
    only: list[tuple[str, str]], added: list[object], tmp_path: Path
) -> None:
    campaign = read_campaign(write(tmp_path, VARIED))
    assert {(t.config.client_optimizer, t.config.partition) for t in campaign.trials} == {
        ("fresh", "iid")
    }
    assert (len(campaign.trials), len(campaign.variants)) == (8, 8 + 4)
    asked = campaign.asked(only).trials
    assert asked[:8] == campaign.trials
    found = [
        t.config.dirichlet_alpha if t.config.partition == "dirichlet" else t.config.client_optimizer
        for t in asked[8:]
    ]
    assert found == added
    assert all({"backbone", "strategy", "seed"} < t.settings.keys() for t in asked[8:])


def test_a_variants_faults_are_said_though_it_is_not_asked_for(tmp_path: Path) -> None:
    text = SMALL + 'variant = [{strategy = "fedavg"}, {seed = 3}, {colour = "red"}]'
    assert faults(tmp_path, text) == [
        "part 1, variant: strategy: is in the grid of this part",
        "part 1, variant: seed: is set by the campaign; list seeds under seeds",
        f"part 1, variant: colour: no such key; {known_names('colour', DEFAULTS)}",
    ]
    (line, *_) = faults(tmp_path, SMALL + "variant = [{rounds = 0}]")
    assert "rounds = 0: allowed is greater than or equal to 1 (part 1, rounds = 0" in line
    (line,) = faults(tmp_path, SMALL + "variant = [{}]")
    assert "part.0.variant.0" in line


def test_an_exclusion_spares_what_cannot_be_run(tmp_path: Path) -> None:
    text = """
    name = "sizes"
    [[part]]
    command = "simulate"
    grid = {backbone = ["resnet18", "maxvit_t"], image-size = [100, 224]}
    """
    (line,) = faults(tmp_path, text)
    assert "(part 1, backbone = maxvit_t, image-size = 100, seed = 0)" in line
    text += "exclude = [{backbone = 'maxvit_*', image-size = 100}]"
    found = [
        (t.config.backbone, t.config.image_size)
        for t in read_campaign(write(tmp_path, text)).trials
    ]
    assert found == [("resnet18", 100), ("resnet18", 224), ("maxvit_t", 224)]


@pytest.mark.parametrize(
    "pattern, left",
    [
        ('command = "simulate"', 0),
        ('command = "clip"', 3),
        ("rounds = 50", 0),  # the default
        ("rounds = 2", 3),
        ("pretrained = true", 0),
        ("image-size = 64", 0),  # the base's
        ("proximal-mu = 1", 2),  # 1 and 1.0 are one number, however either is written
        ("proximal-mu = 1.0", 2),
        ("proximal-mu = 2", 2),
        ('proximal-mu = "0.*"', 2),
        ('proximal-mu = "0.*", rounds = 2', 3),
    ],
)
def test_an_exclusion_sees_every_key(pattern: str, left: int, tmp_path: Path) -> None:
    text = f"""
    name = "numbers"
    [base]
    image-size = 64
    [[part]]
    command = "simulate"
    grid = {{proximal-mu = [0.5, 1, 2.0]}}
    exclude = [{{{pattern}}}]
    """
    if left:
        assert len(read_campaign(write(tmp_path, text)).trials) == left
    else:
        assert "every trial is excluded" in faults(tmp_path, text)[0]


@pytest.mark.parametrize("gpus", [0, 0.01, 0.5, 1, 2, 4.0])
def test_a_trial_may_have_a_part_of_a_gpu_or_whole_ones(gpus: float, tmp_path: Path) -> None:
    text = f"gpus-per-trial = {gpus}\n{SMALL}"
    assert read_campaign(write(tmp_path, text)).gpus_per_trial == gpus


@pytest.mark.parametrize("gpus", ["-1.0", "0.001", "1.5", "inf", "nan"])
def test_no_trial_has_gpus_and_a_part_of_another(gpus: str, tmp_path: Path) -> None:
    (line,) = faults(tmp_path, f"gpus-per-trial = {gpus}\n{SMALL}")
    assert line.endswith(f": gpus-per-trial = {gpus}: allowed is 0, 0.01 to 1, or a whole number")


def test_data_folders_go_by_data_set(tmp_path: Path) -> None:
    text = """
    name = "two"
    [data.ham10000]
    data-dir = "/data/ham"
    test-dir = "/data/test"
    [[part]]
    command = "clip"
    grid = {dataset = ["ham10000", "brats2019"]}
    """
    ham, brats = read_campaign(write(tmp_path, text), data={"brats2019": Path("/b")}).trials
    assert (ham.config.data_dir, ham.config.test_dir) == ("/data/ham", "/data/test")
    assert (brats.config.data_dir, brats.config.test_dir) == ("/b", "")
    assert brats.config.objective == "clip", "the command says so"


def test_paths_become_absolute_from_where_the_command_is_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    trial = read_campaign(write(tmp_path, SMALL), ["data-dir=images"]).trials[0]
    assert trial.config.data_dir == str(tmp_path / "images")


def test_a_grid_key_that_does_not_exist_is_named(tmp_path: Path) -> None:
    (line,) = faults(tmp_path, SMALL.replace("backbone =", "bakbone ="))
    assert line.startswith("part 1, grid: bakbone: no such key; did you mean backbone?")


def test_one_bad_value_in_a_thousand_trials_is_found_and_placed(tmp_path: Path) -> None:
    rates = ", ".join(f"{rate / 1000}" for rate in range(1, 1000)) + ", -0.5"
    text = f"""
    name = "thousand"
    [[part]]
    command = "simulate"
    grid = {{learning-rate = [{rates}]}}
    """
    (line,) = faults(tmp_path, text)
    assert "learning-rate = -0.5: allowed is" in line
    assert "(part 1, learning-rate = -0.5, seed = 0)" in line


def test_a_fault_of_many_trials_is_one_line(tmp_path: Path) -> None:
    (line,) = faults(tmp_path, SMALL.replace("image-size = 64", "image-size = 5"))
    assert "image-size = 5" in line
    assert line.endswith(
        "(part 1, backbone = resnet18, strategy = fedavg, seed = 0 and 7 more trials)"
    )


@pytest.mark.parametrize(
    "change, said",
    [
        (('name = "small"', ""), "name: is missing"),
        (('name = "small"', 'name = "a/b"'), "name = 'a/b': allowed is"),
        (
            ("[[part]]", "[[parts]]"),
            "parts: no such key in a campaign file; did you mean part?",
        ),
        (
            ("command =", "comand ="),
            "comand: no such key in a campaign file; did you mean comm",
        ),
        (('"simulate"', '"train"'), "part.0.command = 'train': allowed is 'simulate', 'clip' or"),
        (("seeds = [0, 1]", "seeds = []"), "seeds: is empty; list at least one"),
        (("seeds = [0, 1]", 'seeds = ["a"]'), "seeds.0 = 'a': allowed is a valid integer"),
        (
            ("rounds = 2", "seed = 2"),
            "part 1, base: seed: is set by the campaign; list seeds under",
        ),
        (("rounds = 2", 'run-dir = "/x"'), "part 1, base: run-dir: is set by the campaign"),
        (("[base]", "[base"), "is not a TOML file"),
        (('"simulate"', '"heads"\nexclude = [{seed = 0}, {seed = 1}]'), "every trial is excluded"),
        (
            ('"simulate"', '"heads"\nexclude = [{sead = 0}]'),
            "part 1, exclude: sead: no such key; did",
        ),
        (("rounds = 2", 'objective = "clip"'), None),
    ],
)
def test_faults_of_a_file_are_said_in_a_line(
    change: tuple[str, str], said: str | None, tmp_path: Path
) -> None:
    text = SMALL.replace(*change)
    if said is None:  # simulate takes both objectives
        assert len(read_campaign(write(tmp_path, text)).trials) == 8
    else:
        assert any(said in line for line in faults(tmp_path, text)), faults(tmp_path, text)


def test_a_command_refuses_the_other_objective(tmp_path: Path) -> None:
    text = SMALL.replace('"simulate"', '"heads"').replace("rounds = 2", 'objective = "clip"')
    (line,) = faults(tmp_path, text)
    assert "objective = 'clip': heads trains objective classifier" in line


def test_an_override_of_a_key_in_the_grid_is_refused(tmp_path: Path) -> None:
    (line,) = faults(tmp_path, SMALL, "backbone=swin_b")
    assert line == "-c backbone: is in the grid of part 1; use --only, or change the file"


def test_a_missing_file_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.toml: cannot be read"):
        read_campaign(tmp_path / "none.toml")
