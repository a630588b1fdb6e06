"""Generated sites, invitations and bundles."""

from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path

import tomli_w
from flwr.cli.build import build_fab_from_files

from fl_client.site.approved_bundles import Approvals, open_bundle
from fl_client.site.invitation import read_invitation
from fl_client.site.site_folder import SiteFolder, SiteSettings, fill_folder
from operation.plugins import PlugIn, for_pyproject
from tests.fl_client.site.certificates import Authority

VERSION = metadata.version("fedskin")


def make_invitation(
    folder: Path,
    *,
    address: str = "127.0.0.1:443",
    version: str = VERSION,
    ca: bytes | None = None,
) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "ca.crt").write_bytes(ca or Authority(folder).certificate.read_bytes())
    text = tomli_w.dumps({"address": address, "version": version})
    (folder / "invitation.toml").write_text(text)
    return folder


def make_site(
    folder: Path, *, address: str = "127.0.0.1:443", ca: bytes | None = None
) -> SiteFolder:
    """Site ``hospital-a``, as ``fedskin site init`` leaves it, except for its images."""
    invitation = make_invitation(folder / "invitation", address=address, ca=ca)
    data = folder / "data"
    data.mkdir()
    site = SiteFolder(folder / "site")
    site.create()
    settings = SiteSettings(name="hospital-a", address=address, data_dir=str(data))
    fill_folder(site, settings, read_invitation(invitation))
    return site


def make_bundle(
    path: Path,
    sources: dict[str, str] | None = None,
    *,
    version: str = VERSION,
    config: dict[str, object] | None = None,
    plugins: Sequence[PlugIn] = (),
    methods: Mapping[str, object] | None = None,
) -> Path:
    """A Flower App bundle with a few files, and the run-config keys and plug-ins given."""
    files = {"tiny/client.py": "", "tiny/server.py": "", "tiny/__init__.py": ""} | (sources or {})
    about = {
        "project": {"name": "tiny", "version": version, "description": "A test's own."},
        "tool": {
            "flwr": {
                "app": {
                    "publisher": "test",
                    "fab-include": ["tiny/*.py", *(n for n in files if "/" not in n)],
                    "components": {
                        "serverapp": "tiny.server:app",
                        "clientapp": "tiny.client:app",
                    },
                    "config": config if config is not None else {"rounds": 50, "data-dir": ""},
                }
            },
            "fedskin": for_pyproject(plugins) | {"methods": methods or {}},
        },
    }
    content = {name: text.encode() for name, text in files.items()}
    content["pyproject.toml"] = tomli_w.dumps(about).encode()
    path.write_bytes(build_fab_from_files(content)[0])
    return path


def approve(site: SiteFolder, path: Path) -> str:
    """Approve a bundle and return its sha256."""
    bundle = open_bundle(path)
    Approvals(site.approved).approve(bundle)
    return bundle.sha256
