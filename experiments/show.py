"""A local page that classifies single images: ``fedskin show``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from experiments.console import Console
from experiments.options import HeadOption, WeightsOption

console = Console()


def show_command(
    source: Annotated[Path, typer.Argument(metavar="RUN_DIR|MODEL.safetensors")],
    head: HeadOption = None,
    weights: WeightsOption = "best",
    host: Annotated[
        str, typer.Option(help="Address to listen on; others than this machine may use the page.")
    ] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="Port to listen on; 0: any that is free.")
    ] = 0,
) -> None:
    """Show the model of the finished run in RUN_DIR, or of a site's file, in the browser.

    Prints the address of a page on this machine, until Ctrl-C. An image dropped there is classified
    as by fedskin predict: probabilities, prediction set, a heat map, how often the model was right
    about these classes, and the best model's card. Images stay in memory and are never stored; the
    page loads nothing from the network. The address contains a secret, without which nothing is
    answered.

    Research software: not a medical device, and not for diagnosis.

    Examples:

    fedskin show runs/demo

    fedskin show runs/heads --head svm --port 8000
    """
    # Imported here, since --help needs none of it.
    from experiments.showing.listening import address_of, is_local, listen
    from experiments.showing.shown_model import open_shown

    listening = listen(host, port)
    with listening:
        shown = open_shown(source.absolute(), head, weights)
        from experiments.showing.model_page import page
        from experiments.showing.page_server import serve

        if shown.model.synthetic:
            console.say(f"{shown.model.synthetic}.", style="bold red")
        if not is_local(listening):
            console.say(
                f"Warning: others may reach {host}, and the images are not encrypted on their way.",
                style="bold red",
            )

        def ready(token: str) -> None:
            console.say(f"Open  {address_of(listening)}/{token}/")
            console.say("Ctrl-C ends it. Research software: not a medical device.")

        try:
            serve(page(shown), shown, listening, ready)
        except KeyboardInterrupt:
            console.say("Ended.")
