"""What most often keeps a file from being TOML: text without quotes. Says the line corrected."""

import re

_PLACE = re.compile(r"(?:Invalid value|Expected newline).* \(at line (\d+),")
# No quotes, and at most what fits a message of one line.
_LINE = re.compile(r"\s*([\w-]+)\s*=\s*([^\s\"'#{](?:[^\"'#]{0,200}[^\s\"'#])?)\s*(?:#.*)?")
_NUMBER = re.compile(r"[+-]?\d[\d_.,eE+-]*")


def remedy(text: str, error: str) -> str:
    """Return the corrected line of a text that is not TOML, as a clause; "" if it is not known.

    Args:
        error: of Python's parser, which names the line.
    """
    place = _PLACE.match(error)
    if place is None:
        return ""
    line = text.split("\n")[int(place[1]) - 1]
    found = _LINE.fullmatch(line.removesuffix("\r"))
    if found is None or not found[2].isprintable():
        return ""
    key, value = found.groups()
    if value.lower() in ("true", "false"):
        return f"; write in small letters: {key} = {value.lower()}"
    corrected = _quoted(value)
    return "" if corrected == value else f"; text needs quotes: {key} = {corrected}"


def _quoted(value: str) -> str:
    if value.startswith("[") and value.endswith("]") and "[" not in value[1:]:
        return f"[{', '.join(_quoted(each.strip()) for each in value[1:-1].split(','))}]"
    if value.startswith("[") or value in ("", "true", "false") or _NUMBER.fullmatch(value):
        return value
    return f"'{value}'" if "\\" in value else f'"{value}"'
