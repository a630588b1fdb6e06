"""The deployment files are well-formed and name only existing things."""

import re
import shlex
import shutil
import subprocess
import sysconfig
import tomllib
from pathlib import Path

import click
import kubernetes_validate
import pytest
import typer
import yaml

from experiments.cli import app
from training.config_file import read_config

CHECKOUT = Path(__file__).parents[1]
DEPLOY = CHECKOUT / "deploy"
UNITS = sorted(DEPLOY.glob("*.service"))
COMPOSE_FILES = sorted(DEPLOY.glob("compose.*.yaml"))

# fedskin as people type it, as hospitals.sh calls it, and as the image's entry point.
CALL = re.compile(
    r"^\s*(?:(?:show |stay \S+ |compose exec \w+ )?fedskin|compose run --rm \w+) (.+?)(?: \| .*)?$",
    re.M,
)


def typed(page: Path) -> str:
    """What a page says to type: its shell blocks, and whole commands within its sentences."""
    text = page.read_text("utf-8")
    blocks = re.findall(r"^```sh\n(.*?)^```", text, re.M | re.S)
    return "\n".join([*blocks, *re.findall(r"`(fedskin \w+ \w+ [^`]+)`", text)])


def calls(text: str) -> list[str]:
    """The arguments of each call of fedskin in a shell's text."""
    return CALL.findall(text.replace("\\\n", " "))


CALLS = [
    *calls(typed(CHECKOUT / "docs" / "deployment.md")),
    *calls(typed(CHECKOUT / "docs" / "cluster.md")),
    *calls(typed(CHECKOUT / "docs" / "coming-from.md")),
    *calls(typed(CHECKOUT / "docs" / "tracking.md")),
    *calls(typed(CHECKOUT / "README.md")),
    *calls((DEPLOY / "hospitals.sh").read_text("utf-8")),
]


def check_call(arguments: list[str]) -> None:
    """Parse arguments as the command line does, without doing anything.

    Raises:
        click.ClickException: there is no such command or option, or one is missing.
    """
    command: click.Command = typer.main.get_command(app)
    context = click.Context(command)
    while isinstance(command, click.Group):
        name, command, arguments = command.resolve_command(context, arguments)
        assert command is not None
        context = click.Context(command, parent=context, info_name=name)
    command.make_context(context.info_name, arguments, parent=context.parent)


@pytest.mark.parametrize("arguments", sorted(set(CALLS)))
def test_documented_call_exists_with_its_options(arguments: str) -> None:
    # A script's variables stand for a path or a number; 1 is both.
    check_call(shlex.split(re.sub(r"\$\w+", "1", arguments), comments=True))


@pytest.mark.parametrize(
    "arguments", ["site serv DIR", "site serve", "site serve DIR --port 1", "site serve DIR DIR"]
)
def test_a_wrong_call_would_be_noticed(arguments: str) -> None:
    with pytest.raises(click.ClickException):
        check_call(arguments.split())


def test_calls_are_found_however_they_are_written() -> None:
    text = "show fedskin a \\\n  b\ncompose exec site fedskin c\ncompose run --rm site d\n"
    assert calls(text + "cd /opt/fedskin now\n  fedskin e") == ["a    b", "c", "d", "e"]


@pytest.mark.parametrize("unit", UNITS, ids=lambda path: path.name)
def test_unit_is_accepted_by_systemd(unit: Path, tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not installed here")
    installed = Path(sysconfig.get_path("scripts")) / "fedskin"
    text = unit.read_text("utf-8").replace("/opt/fedskin/.venv/bin/fedskin", str(installed))
    (tmp_path / unit.name).write_text(text, "utf-8")
    verify = ["systemd-analyze", "verify", str(tmp_path / unit.name)]
    result = subprocess.run(verify, capture_output=True, text=True)
    assert (result.returncode, result.stderr) == (0, "")


@pytest.mark.parametrize("unit", UNITS, ids=lambda path: path.name)
def test_unit_serves_a_folder_that_it_may_write_to(unit: Path) -> None:
    lines = unit.read_text("utf-8").splitlines()
    values = dict(line.split("=", 1) for line in lines if re.match(r"[A-Z]\w*=", line))
    program, *arguments = values["ExecStart"].split()
    assert program == "/opt/fedskin/.venv/bin/fedskin"
    check_call(arguments)
    assert Path(arguments[-1]).parent == Path("/var/lib") / values["StateDirectory"]
    assert values["User"] == values["StateDirectory"] == unit.stem


@pytest.mark.parametrize("path", COMPOSE_FILES, ids=lambda path: path.name)
def test_compose_file_builds_from_what_exists_and_calls_what_exists(path: Path) -> None:
    for service in yaml.safe_load(path.read_text("utf-8"))["services"].values():
        context = path.parent / service["build"]["context"]
        assert context.resolve() == CHECKOUT
        assert (context / service["build"]["dockerfile"]).is_file()
        check_call(service["command"])


def test_image_holds_every_package_and_nothing_but_what_installs_them() -> None:
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text("utf-8"))
    listed = set(project["tool"]["setuptools"]["packages"])
    packages = {name.split(".")[0] for name in listed}
    assert listed == {
        ".".join(path.parent.relative_to(CHECKOUT).parts)
        for name in packages
        for path in (CHECKOUT / name).rglob("__init__.py")
    }
    lines = (DEPLOY / "Dockerfile.dockerignore").read_text("utf-8").splitlines()
    assert [line for line in lines if not line.startswith(("#", "!"))] == ["*", "**/__pycache__"]
    let_through = {line.removeprefix("!") for line in lines if line.startswith("!")}
    assert let_through == packages | {"pyproject.toml", "constraints.txt", "README.md", "LICENSE"}
    assert all((CHECKOUT / name).exists() for name in let_through)


@pytest.mark.parametrize("name", ["hospitals.sh", "slurm.sh"])
def test_script_is_well_formed(name: str) -> None:
    assert subprocess.run(["bash", "-n", str(DEPLOY / name)]).returncode == 0


def test_pods_have_the_pinned_ray_and_the_images_user() -> None:
    documents = yaml.safe_load_all((DEPLOY / "kuberay.yaml").read_text("utf-8"))
    (cluster,) = (each["spec"] for each in documents if each["kind"] == "RayCluster")
    pins = (CHECKOUT / "constraints.txt").read_text("utf-8").splitlines()
    assert f"ray=={cluster['rayVersion']}" in pins
    user = cluster["headGroupSpec"]["template"]["spec"]["securityContext"]["runAsUser"]
    assert f"useradd --uid {user} " in (DEPLOY / "Dockerfile").read_text("utf-8")
    for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"]):
        (container,) = group["template"]["spec"]["containers"]
        probed = container["livenessProbe"]["tcpSocket"]["port"]
        assert group["rayStartParams"]["node-manager-port"] == str(probed)


def test_kubernetes_knows_every_field_and_its_type() -> None:
    """Of the RayCluster, which KubeRay defines, the two kinds of pods."""
    documents = list(yaml.safe_load_all((DEPLOY / "kuberay.yaml").read_text("utf-8")))
    (cluster,) = (each["spec"] for each in documents if each["kind"] == "RayCluster")
    groups = [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]
    pods = [
        {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "pod"}, **group["template"]}
        for group in groups
    ]
    others = [each for each in documents if each["kind"] != "RayCluster"]
    assert {each["kind"] for each in others} == {"PersistentVolumeClaim", "NetworkPolicy"}
    for document in [*others, *pods]:
        kubernetes_validate.validate(document, "1.34", strict=True)
    pods[0]["spec"]["containers"][0]["livenessProbes"] = {}
    with pytest.raises(kubernetes_validate.ValidationError, match="livenessProbes"):
        kubernetes_validate.validate(pods[0], "1.34", strict=True)


def test_hospitals_config_says_what_a_deployed_run_must_say() -> None:
    config = read_config(DEPLOY / "hospitals.toml")
    assert config.dataset == "ham10000"
    assert (config.data_dir, config.clients) == ("", 3)


@pytest.mark.parametrize("page", ["cluster.md", "deployment.md", "security.md"])
def test_links_lead_somewhere(page: str) -> None:
    path = CHECKOUT / "docs" / page
    for target, anchor in re.findall(
        r"\]\((?!https:)([^)#]*)(?:#([^)]*))?\)", path.read_text("utf-8")
    ):
        linked = path.parent / target if target else path
        assert linked.exists(), target
        if anchor:
            headings = re.findall(r"^#+ (.*)", linked.read_text("utf-8"), re.M)
            slugs = [re.sub(r"[^\w -]", "", h).lower().replace(" ", "-") for h in headings]
            assert anchor in slugs, f"{target}#{anchor}"
