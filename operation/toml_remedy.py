"""What most often keeps a file from being TOML: quotes. Says the line corrected."""

import re

_PLACE = re.compile(r"(?:Invalid|Expected newline|Unescaped).* \(at line (\d+),")
# No quotes, and at most what fits a message of one line.
_LINE = re.compile(r"\s*([\w-]+)\s*=\s*([^\s\"'#{](?:[^\"'#]{0,200}[^\s\"'#])?)\s*(?:#.*)?")
# A path as Windows writes it: in double quotes a backslash begins an escape.
_BACKSLASHES = re.compile(r"\s*([\w-]+)\s*=\s*\"([^\"']{0,200}\\[^\"']{0,200})\"\s*(?:#.*)?")
_TYPED = "\N{LEFT DOUBLE QUOTATION MARK}\N{RIGHT DOUBLE QUOTATION MARK}"
_NUMBER = re.compile(r"[+-]?\d[\d_.,eE+-]*")


def remedy(text: str, error: str) -> str:
    """Return the corrected line of a text that is not TOML, as a clause; "" if it is not known.

    Args:
        error: of Python's parser, which names the line.
    """
    place = _PLACE.match(error)
    if place is None:
        return ""
    line = text.split("\n")[int(place[1]) - 1].removesuffix("\r")
    if (path := _BACKSLASHES.fullmatch(line)) and path[2].isprintable():
        return f"; text with \\ needs single quotes: {path[1]} = '{path[2]}'"
    found = _LINE.fullmatch(line)
    if found is None or not found[2].isprintable():
        return ""
    key, value = found.groups()
    if value.lower() in ("true", "false"):
        return f"; write in small letters: {key} = {value.lower()}"
    plain = value.strip(_TYPED)
    corrected = _quoted(plain)
    if corrected == value:
        return ""
    return f"; text needs {'quotes' if plain == value else 'straight quotes'}: {key} = {corrected}"


def _quoted(value: str) -> str:
    if value.startswith("[") and value.endswith("]") and "[" not in value[1:]:
        return f"[{', '.join(_quoted(each.strip()) for each in value[1:-1].split(','))}]"
    if value.startswith("[") or value in ("", "true", "false") or _NUMBER.fullmatch(value):
        return value
    return f"'{value}'" if "\\" in value else f'"{value}"'
