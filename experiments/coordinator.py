"""The coordinator of real sites: ``fedskin coordinator``."""

from __future__ import annotations

import logging
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Column, Table

from experiments.console import Console
from operation.files import read_json
from operation.logs import log_file
from operation.serving import serving

if TYPE_CHECKING:
    from fl_server.coordinator.coordinator_folder import CoordinatorFolder

app = typer.Typer(help="Coordinate hospitals on their own machines.", no_args_is_help=True)
# No emoji: in a fingerprint `:CD:` would be one.
console = Console()

Directory = Annotated[Path, typer.Argument(metavar="DIR", show_default=False)]

# The number of latest runs that are listed.
_LISTED_RUNS = 10


@app.command()
def init(
    directory: Directory,
    host: Annotated[
        str, typer.Option(help="The name or address by which the sites reach this machine.")
    ],
    port: Annotated[int, typer.Option(help="The port that they connect to.")] = 443,
    bind: Annotated[
        str, typer.Option(help="The local address to listen on; 0.0.0.0 means all.")
    ] = "127.0.0.1",
) -> None:
    """Make a coordinator's folder: its keys, its certificates, and the invitation to the sites.

    Examples
    --------

        fedskin coordinator init coordinator --host fed.example.org --bind 0.0.0.0
    """
    # Imported here and below, since --help needs none of it.
    from fl_server.coordinator.certificates import certificate_fingerprint, read_certificate
    from fl_server.coordinator.coordinator_folder import CoordinatorFolder, check_settings

    folder = CoordinatorFolder(directory)
    folder.create(check_settings({"host": host, "port": port, "bind": bind}, "init"))

    console.say(f"Made {folder.path}; keep it secret, and make a backup of it.")
    console.say(f"Send every site the folder {folder.invitation}")
    console.say(
        "It holds nothing secret. Ask each site to read you the fingerprint of the CA, which is"
    )
    console.say(certificate_fingerprint(read_certificate(folder.ca_certificate)))


@app.command()
def admit(
    directory: Directory,
    public_key: Annotated[Path, typer.Argument(metavar="SITE.pub", show_default=False)],
    name: Annotated[str, typer.Option(help="The site's name in every run.", show_default=False)],
) -> None:
    """Admit a site, by the public key that it sent.

    Examples
    --------

        fedskin coordinator admit coordinator hospital-a.pub --name hospital-a
    """
    from fl_server.coordinator.sites import Sites, read_public_key

    folder = _open(directory)
    Sites(folder).admit(name, read_public_key(public_key))
    console.say(f"{name} is admitted. All admitted sites: {', '.join(Sites(folder).active())}")


@app.command("list")
def list_sites(directory: Directory) -> None:
    """List the sites and the latest runs.

    Examples
    --------

        fedskin coordinator list coordinator
    """
    from fl_server.coordinator.orders import Orders
    from fl_server.coordinator.sites import Sites

    folder = _open(directory)
    connected = read_json(folder.connected) if serving(folder.path) else None
    table = Table("name", "admitted", "state", title="Sites", title_justify="left")
    for site in Sites(folder).all():
        if site.revoked:
            state = f"revoked {site.revoked}"
        elif connected is None:
            state = "this folder is not served"
        else:
            state = "connected" if site.name in connected["sites"] else "not connected"
        table.add_row(site.name, site.admitted, state)
    console.print(table)
    columns = [Column(name, overflow="fold") for name in ("run", "state", "folder")]
    runs = Table(*columns, title="The latest runs", title_justify="left")
    for order in Orders(folder).all()[-_LISTED_RUNS:]:
        runs.add_row(str(order.number), order.state, order.run_dir)
    if runs.row_count:
        console.print(runs)


@app.command()
def revoke(
    directory: Directory, name: Annotated[str, typer.Argument(metavar="NAME", show_default=False)]
) -> None:
    """Exclude a site permanently. A run in which it takes part ends as failed.

    Examples
    --------

        fedskin coordinator revoke coordinator hospital-a
    """
    from fl_server.coordinator.sites import Sites

    Sites(_open(directory)).revoke(name)
    console.say(f"{name} is revoked; its name and its key are never accepted again.")


@app.command()
def renew(directory: Directory) -> None:
    """Make a new server certificate, valid for two years; the sites need not do anything.

    Examples
    --------

        fedskin coordinator renew coordinator
    """
    from fl_server.coordinator.certificates import read_certificate
    from fl_server.coordinator.coordinator_folder import CoordinatorFolder

    folder = CoordinatorFolder(directory)
    folder.renew()
    server, authority = map(read_certificate, (folder.certificate, folder.ca_certificate))
    console.say(f"The new certificate expires on {server.not_valid_after_utc.date()}.")
    console.say(
        f"The CA, which the sites trust, expires on {authority.not_valid_after_utc.date()}."
    )
    if serving(folder.path):
        console.say(f"To use it, stop  fedskin coordinator serve {directory}  and start it again.")


@app.command()
def bundle(
    directory: Directory,
    include: Annotated[
        list[str] | None,
        typer.Option(
            metavar="PACKAGE",
            help="Put an installed package with plug-ins into the bundle. Repeatable.",
        ),
    ] = None,
) -> None:
    """Write the bundle that runs at the sites, for them to approve, and print its SHA-256.

    A plug-in runs at the sites only if its package is in the bundle.

    Examples
    --------

        fedskin coordinator bundle coordinator

        fedskin coordinator bundle coordinator --include fedskin-example
    """
    from fl_server.coordinator.bundles import write_bundle

    path, sha256 = write_bundle(_open(directory), include or ())
    console.say(f"{path}")
    console.say(sha256)


@app.command()
def serve(directory: Directory) -> None:
    """Serve the sites and execute the submitted runs, until Ctrl-C.

    Processes that die are restarted. Unfinished runs continue, also after a kill or a reboot.

    Examples
    --------

        fedskin coordinator serve coordinator
    """
    folder = _open(directory)
    # Imported here: Flower takes seconds, and other commands do not need it.
    from fl_server.coordinator.serve_coordinator import serve_coordinator

    _log_to(folder.logs / "coordinator.log")
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        serve_coordinator(folder)
    except KeyboardInterrupt:
        console.say("Stopped. Unfinished runs continue when this folder is served again.")


@app.command()
def stop(
    directory: Directory, run: Annotated[int, typer.Argument(metavar="RUN", show_default=False)]
) -> None:
    """Stop a run, by its number; its folder keeps its results so far.

    Examples
    --------

        fedskin coordinator stop coordinator 3
    """
    from fl_server.coordinator.orders import Orders

    orders = Orders(_open(directory))
    orders.stop(run)
    again = f"fedskin run --on {directory} --resume --out {orders.get(run).run_dir}"
    console.say(f"Run {run} is stopped. Resume it with  {again}")


def _open(directory: Path) -> CoordinatorFolder:
    from fl_server.coordinator.coordinator_folder import CoordinatorFolder

    folder = CoordinatorFolder(directory)
    folder.settings()
    return folder


def _log_to(path: Path) -> None:
    """Show the coordinator's log messages, and write them to a file."""
    formatter = logging.Formatter("%(asctime)s %(message)s", datefmt="%Y-%m-%d %H:%M:%S")
    for handler in (logging.StreamHandler(), log_file(path)):
        handler.setFormatter(formatter)
        for package in ("fl_server", "operation"):
            logger = logging.getLogger(package)
            logger.setLevel(logging.INFO)
            logger.addHandler(handler)
