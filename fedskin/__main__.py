"""The command ``fedskin``, also as ``python -m fedskin``."""


def main() -> None:
    """Run the command line; the package's import has checked what it is made of."""
    from experiments.cli import main as run

    run()


if __name__ == "__main__":
    main()
