"""An environment of its own for every peer; all of them share the torch of this one."""

import json
import shutil
import subprocess
import sys
from collections.abc import Iterable
from importlib.metadata import distribution
from pathlib import Path

from packaging.requirements import Requirement

# With these two, the time of a step does not depend on the framework.
SHARED = ("torch", "torchvision")


def install(folder: Path, packages: Iterable[str], against_metadata: bool = False) -> Path:
    """Make a virtual environment, unless it is there already, and return its interpreter.

    Args:
        folder: of all environments; torch and what it needs are linked into it once.
        packages: requirements, as pip takes them; the first names the environment.
        against_metadata: the first package says that it needs other versions of Python and torch,
            and is installed all the same, with everything else that it needs.

    Raises:
        subprocess.CalledProcessError: pip failed; contains what it printed.
    """
    first, *others = packages
    home = folder / project(first)
    python, done = home / "bin" / "python", home / "installed.json"
    shared = [f"{name}=={version(name)}" for name in SHARED]
    wanted = [first, *others, *shared]
    if done.is_file() and json.loads(done.read_text(encoding="utf-8")) == wanted:
        return python
    shutil.rmtree(home, ignore_errors=True)
    _run([sys.executable, "-m", "venv", str(home)])
    (site,) = home.glob("lib/python*/site-packages")
    (site / "shared.pth").write_text(f"{_share(folder / 'shared')}\n", encoding="utf-8")
    pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    if against_metadata:
        _run([*pip, "--no-deps", "--ignore-requires-python", first])
        first, *rest = _needs(python, project(first))
        others += rest
    _run([*pip, first, *others, *shared])  # the shared ones' own needs are not all shared
    done.write_text(json.dumps(wanted), encoding="utf-8")
    return python


def project(requirement: str) -> str:
    """Return the name in a requirement."""
    return Requirement(requirement).name


def version(name: str) -> str:
    """Return the version of a package of this environment, without its build, such as ``+cpu``."""
    return distribution(name).version.partition("+")[0]


def versions(python: Path, names: Iterable[str]) -> dict[str, str]:
    """Return the versions of packages in another environment, and its Python's."""
    program = (
        "import json, platform, sys; from importlib.metadata import version; "
        "print(json.dumps({'python': platform.python_version(), "
        "**{name: version(name) for name in sys.argv[1:]}}))"
    )
    found: dict[str, str] = json.loads(_run([str(python), "-c", program, *names]))
    return found


def _share(shared: Path) -> Path:
    """Link the shared packages and what torch needs into a folder; return the folder."""
    shared.mkdir(parents=True, exist_ok=True)
    for name in {*SHARED, *_closure("torch")}:
        found = distribution(name)
        for top in {file.parts[0] for file in found.files or ()} - {"..", "__pycache__"}:
            link = shared / top
            link.unlink(missing_ok=True)
            link.symlink_to(Path(str(found.locate_file(top))))
    return shared


def _closure(name: str) -> set[str]:
    """Return a package's name, and those of all that it needs here."""
    known: dict[str, set[str]] = {}  # the extras with which each was seen
    left = [Requirement(name)]
    while left:
        one = left.pop()
        extras = {"", *one.extras}
        if not extras <= known.get(one.name, set()):
            known.setdefault(one.name, set()).update(extras)
            left += _apply(distribution(one.name).requires or (), extras)
    return set(known)


def _needs(python: Path, name: str) -> list[str]:
    """Return what a package of another environment needs, except the shared ones."""
    program = "import sys, importlib.metadata as m; print('\\n'.join(m.requires(sys.argv[1])))"
    needs = _apply(_run([str(python), "-c", program, name]).splitlines())
    return [str(need) for need in needs if need.name not in SHARED]


def _apply(requirements: Iterable[str], extras: Iterable[str] = ("",)) -> list[Requirement]:
    """Return those requirements that hold here, with these extras."""
    return [
        need
        for need in map(Requirement, requirements)
        if not need.marker or any(need.marker.evaluate({"extra": extra}) for extra in extras)
    ]


def _run(command: list[str]) -> str:
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if done.returncode != 0:
        raise subprocess.CalledProcessError(done.returncode, command, done.stdout, done.stderr)
    return done.stdout
