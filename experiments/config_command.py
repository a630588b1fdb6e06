"""The commands that take ``-c``: a key of the config that is given as an option is told how."""

from click import Context, NoSuchOption
from typer.core import TyperCommand


class ConfigCommand(TyperCommand):
    """A command with the option ``-c``, which sets the config's keys."""

    def parse_args(self, ctx: Context, args: list[str]) -> list[str]:
        """Parse the arguments.

        Raises:
            NoSuchOption: an option is unknown; of a key's name, the error says how to set the key.
        """
        words = list(args)
        try:
            return super().parse_args(ctx, args)
        except NoSuchOption as error:
            # Imported here: the keys take a tenth of a second.
            from training.config import DEFAULTS

            option = error.option_name
            key = option.lstrip("-").replace("_", "-")
            if key not in DEFAULTS:
                raise
            value = _value_of(option, words)
            raise NoSuchOption(
                option, f"{option} is a key of the config: write  -c {key}={value}", ctx=ctx
            ) from None


def _value_of(option: str, words: list[str]) -> str:
    """Return what was written as an unknown option's value; VALUE if nothing was."""
    for word, following in zip(words, [*words[1:], "-"], strict=True):
        # Click names an option with hyphens for the underscores that were written.
        name, equals, value = word.partition("=")
        if name.replace("_", "-") == option.replace("_", "-"):
            if equals:
                return value
            return "VALUE" if following.startswith("-") else following
    return "VALUE"
