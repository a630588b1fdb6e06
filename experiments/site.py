"""``fedskin site``: take part in a federation from a hospital's own machine."""

from importlib import metadata
from pathlib import Path
from typing import Annotated, Any

import typer

from data_partition.errors import DataError
from experiments.console import Console
from experiments.options import DatasetOption
from fl_client.site.approved_bundles import Approvals, Bundle, changed_files, open_bundle
from fl_client.site.diagnosis import local_fault
from fl_client.site.invitation import ca_fingerprint, read_invitation
from fl_client.site.policy import read_policy
from fl_client.site.records import Records, last_records
from fl_client.site.site_folder import SiteFolder, SiteSettings, check_new, fill_folder
from operation.errors import OperationError

app = typer.Typer(
    help="Take part in a federation from a hospital's own machine.", no_args_is_help=True
)
# No emoji: in a fingerprint `:CD:` would be one.
console = Console(highlight=False, soft_wrap=True)

Directory = Annotated[Path, typer.Argument(metavar="DIR", show_default=False)]


@app.command()
def init(
    directory: Directory,
    name: Annotated[str, typer.Option(help="The site's name in the federation.")],
    invitation: Annotated[Path, typer.Option(help="The folder that the coordinator sent.")],
    data: Annotated[Path, typer.Option(help="The folder of this site's images.")],
    weights_dir: Annotated[
        Path | None, typer.Option(help="Folder of weight files, for machines without internet.")
    ] = None,
    shard: Annotated[
        str | None,
        typer.Option(
            metavar="K/M", help="Use the Kth of M equal shards of a common data set, not all of it."
        ),
    ] = None,
    dataset: DatasetOption = "",
) -> None:
    """Make the folder DIR of this site: its keys, its settings, its images decoded once.

    The key pair is made here, and the private key never leaves. At the end the
    one file to send back to the coordinator is named.

    Examples:

        fedskin site init site --name hospital-a \\
          --invitation invitation --data /data/images
    """
    site = _site(directory)
    check_new(site, name)
    invited = read_invitation(invitation)
    partition_id, num_partitions = _shard(shard)
    data, weights_dir = data.expanduser(), weights_dir and weights_dir.expanduser()
    for folder in filter(None, (data, weights_dir)):
        if not folder.is_dir():
            raise OperationError(f"{folder}: is not a folder; give the folder that holds the files")
    settings = SiteSettings(
        name=name,
        address=invited.address,
        data_dir=str(data.absolute()),
        weights_dir=str(weights_dir.absolute()) if weights_dir else "",
        partition_id=partition_id,
        num_partitions=num_partitions,
    )
    site.create()
    _check_and_decode(site, settings, dataset)
    fill_folder(site, settings, invited)
    console.print(f"Send back to the coordinator, and nothing else: {site.public_key()}")
    console.print(f"Compare by telephone the coordinator's fingerprint: {invited.fingerprint}")


@app.command()
def approve(
    directory: Directory,
    bundle: Annotated[Path, typer.Argument(metavar="BUNDLE", show_default=False)],
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Show what the app bundle BUNDLE would run here, and approve it.

    Only approved bundles run. They are identified by their hash: one changed byte makes another
    bundle.

    Examples:

    fedskin site approve site fedskin-0.1.0.fab
    """
    site = _open(directory)
    wanted, approvals = open_bundle(bundle), Approvals(site.approved)
    _show(wanted, approvals.latest())
    if not yes:
        typer.confirm(f"May this run at site {site.settings().name}?", abort=True)
    approvals.approve(wanted)
    console.print(f"Approved {wanted.sha256}")


@app.command()
def approved(directory: Directory) -> None:
    """List the bundles that may run at the site in DIR."""
    site = _open(directory)
    for sha256, facts in Approvals(site.approved).listed().items():
        console.print(f"{sha256}  version {facts['version']}, approved {facts['approved']}")


@app.command()
def withdraw(
    directory: Directory,
    sha256: Annotated[str, typer.Argument(metavar="SHA256-PREFIX", show_default=False)],
) -> None:
    """Withdraw the approval of a bundle; from the next message on it does not run."""
    site = _open(directory)
    console.print(f"Withdrawn {Approvals(site.approved).withdraw(sha256)}")


@app.command()
def serve(directory: Directory) -> None:
    """Take part until Ctrl-C or SIGTERM. Connections are only outbound; none is accepted.

    Examples:

    fedskin site serve site
    """
    # Imported here: not needed for --help.
    from fl_client.site.serve_site import serve_site, set_up_log

    site = _open(directory)
    set_up_log(site.logs / "site.log")
    serve_site(site)


@app.command()
def log(
    directory: Directory, last: Annotated[int, typer.Option(min=1, help="How many lines.")] = 20
) -> None:
    """Show the latest messages received, sent and refused; DIR/records.jsonl has all."""
    site = _open(directory)
    for line in last_records(site.records, last):
        console.print(
            f"{line['time']}  {line['event']:<8} {line['type']}, round "
            f"{line.get('round') or '-'}, run {line.get('run', '-')}"
            + (f": {line['reason']}" if "reason" in line else "")
        )
        for record in line.get("records", ()):
            console.print(
                f"    {record['name']} ({record['kind']}), {record['bytes']} bytes, "
                f"sha256 {record['sha256']}"
            )


@app.command()
def status(directory: Directory) -> None:
    """Show whether the site in DIR is served and connected, and what it allows."""
    from operation.serving import serving

    site = _site(directory)
    settings, policy = site.settings(), read_policy(site.policy)
    server = serving(site.path)
    if site.paused.exists():
        state = "paused; resume with  fedskin site resume"
    elif server is None:
        state = "not served; start it with  fedskin site serve"
    elif fault := local_fault(site, settings):  # this may be why no state was written
        state = fault
    else:
        state = site.state.read_text(encoding="utf-8") if site.state.exists() else "starting"
    lines: dict[str, Any] = {
        "site": settings.name,
        "state": state,
        "served by": f"process {server.process.pid}" if server else "nobody",
        "coordinator": settings.address,
        "its CA": ca_fingerprint(site.ca.read_bytes(), site.ca),
        "bundles": f"{len(Approvals(site.approved).listed())} approved",
        "rounds": f"{Records(site.records).rounds_today()} of {policy.max_rounds_per_day} "
        "in 24 hours",
    }
    for key, value in lines.items():
        console.print(f"{key:<12} {value}")


@app.command()
def pause(directory: Directory) -> None:
    """Leave the federation for a while; training in progress is cancelled."""
    site = _open(directory)
    site.paused.touch()
    console.print("Paused; resume with  fedskin site resume")


@app.command()
def resume(directory: Directory) -> None:
    """Take part again after a pause."""
    site = _open(directory)
    site.paused.unlink(missing_ok=True)
    console.print("Resumed; a site that is served connects within seconds")


@app.command()
def model(
    directory: Directory,
    out: Annotated[Path, typer.Option(help="File to write, ending in .safetensors.")],
    run: Annotated[str | None, typer.Option(help="The run.", show_default="the latest")] = None,
) -> None:
    """Copy the model of a finished run, for use with  fedskin predict.

    Examples:

    fedskin site model site --out lesions.safetensors
    """
    import shutil

    from operation.files import replacing

    site = _open(directory)
    if out.suffix != ".safetensors":
        raise typer.BadParameter(f"{out} must end in .safetensors", param_hint="--out")
    found = [
        path
        for path in site.runs.glob("*/model.safetensors")
        if run is None or path.parent.name == run
    ]
    if not found:
        raise OperationError(
            f"{site.path}: holds no model of {'a finished run' if run is None else f'run {run}'}; "
            "a run leaves one when it is evaluated at its end"
        )
    newest = max(found, key=lambda path: path.stat().st_mtime)
    with replacing(out) as temporary:
        shutil.copyfile(newest, temporary)
    console.print(f"Wrote {out}, of run {newest.parent.name}")


def _site(directory: Path) -> SiteFolder:
    return SiteFolder(directory.expanduser().absolute())


def _open(directory: Path) -> SiteFolder:
    """Return a folder that is a site's, which its settings show."""
    site = _site(directory)
    site.settings()
    return site


def _shard(text: str | None) -> tuple[int | None, int | None]:
    if text is None:
        return None, None
    number, slash, total = text.partition("/")
    if not (slash and number.isdecimal() and total.isdecimal() and 1 <= int(number) <= int(total)):
        raise OperationError(f"--shard {text}: write K/M, such as 1/3, with K from 1 to M")
    return int(number) - 1, int(total)


def _check_and_decode(site: SiteFolder, settings: SiteSettings, dataset: str) -> None:
    """Show what the data folder holds, and decode its images into the site's own store."""
    from data_partition.image_store import open_store, store_side
    from experiments import data_commands
    from experiments.display import counting
    from training.config import parse
    from training.release import training_table

    config = parse({"data-dir": settings.data_dir, "dataset": dataset or "auto"})
    data_commands.check(Path(settings.data_dir), dataset=dataset)
    with counting(Console(stderr=True), "Decoding images") as progress:
        store = open_store(
            training_table(config),
            side=store_side(config.image_size),
            cache_dir=site.cache,
            progress=progress,
        )
    if settings.num_partitions is not None and settings.num_partitions > len(store.rows):
        raise DataError(f"--shard: {settings.num_partitions} shards of {len(store.rows)} images")


def _show(bundle: Bundle, before: Bundle | None) -> None:
    installed = metadata.version("fedskin")
    console.print(f"version  {bundle.version}")
    if bundle.version != installed:
        said = f"but fedskin {installed} is installed here; install the same version"
        console.print(said, style="yellow")
    console.print(f"sha256   {bundle.sha256}")
    for plugin in bundle.plugins:
        console.print(f"plug-in  {plugin.what}, of {plugin.owner}, in {plugin.place}")
    console.print(f"files    {len(bundle.files)}")
    if before is None:
        for name in sorted(bundle.files):
            console.print(f"  {name}")
        return
    console.print(f"since the last approved one, {before.sha256[:12]}:")
    differing = changed_files(before, bundle)
    for what, names in differing.items():
        for name in names:
            console.print(f"  {what:<8} {name}")
    if not any(differing.values()):
        console.print("  nothing has changed")
