"""Tells uv what pip was configured with: uv does not read pip's configuration.

What the user set for uv herself wins; uv's own files are read by uv as ever.
"""

import ast
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from urllib.parse import unquote, urlsplit

# pip's order of sections, the later ones win
# (pip/_internal/cli/parser.py: _get_ordered_configuration_items)
_SECTIONS = ("global", "install", ":env:")

# pip's option -> uv's variable, and other names under which the user may have told uv the same
_PLAIN: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    ("index-url", "UV_DEFAULT_INDEX", ("UV_INDEX_URL",)),
    ("trusted-host", "UV_INSECURE_HOST", ()),
    ("constraint", "UV_CONSTRAINT", ()),
    ("cert", "SSL_CERT_FILE", ()),
    ("client-cert", "SSL_CLIENT_CERT", ()),
    ("proxy", "ALL_PROXY", ("HTTPS_PROXY", "https_proxy", "all_proxy")),
    ("default-timeout", "UV_HTTP_TIMEOUT", ()),
    ("timeout", "UV_HTTP_TIMEOUT", ()),
)


def parse_config_list(text: str) -> dict[str, str]:
    """pip's options by name, from the `section.option='value'` lines of `pip config list`."""
    found: dict[str, dict[str, str]] = {section: {} for section in _SECTIONS}
    for line in text.splitlines():
        key, equals, quoted = line.partition("=")
        section, _, option = key.partition(".")
        if equals and section in found:
            try:
                value = str(ast.literal_eval(quoted))
            except (ValueError, SyntaxError):
                continue
            found[section][option.lower().replace("_", "-")] = value
    merged: dict[str, str] = {}
    for section in _SECTIONS:
        merged.update(found[section])
    return merged


def uv_variables(
    pip: Mapping[str, str], environ: Mapping[str, str], exists: Callable[[Path], bool] = Path.exists
) -> dict[str, str]:
    """The variables to add to uv's environment so that it sees the packages that pip would see."""
    added: dict[str, str] = {}

    def tell(variable: str, value: str, *also: str) -> bool:
        if not value or variable in added or any(name in environ for name in (variable, *also)):
            return False
        added[variable] = value
        return True

    for option, variable, also in _PLAIN:
        tell(variable, " ".join(pip.get(option, "").split()), *also)
    tell("UV_FIND_LINKS", ",".join(_present(pip.get("find-links", "").split(), exists)))
    extra = " ".join(_present(pip.get("extra-index-url", "").split(), exists))
    if tell("UV_INDEX", extra, "UV_EXTRA_INDEX_URL"):
        # pip takes the best version of all indexes; uv stops at the first that has the package
        tell("UV_INDEX_STRATEGY", "unsafe-best-match")
    if pip.get("no-index", "").lower() in ("1", "true", "yes", "on"):
        tell("UV_NO_INDEX", "1")
    if pip.get("keyring-provider", "") in ("import", "subprocess"):
        tell("UV_KEYRING_PROVIDER", "subprocess")
    return added


def _present(locations: Iterable[str], exists: Callable[[Path], bool]) -> list[str]:
    """Without local folders that do not exist: pip passes over them, uv would stop."""
    kept = []
    for location in locations:
        address = urlsplit(location)
        if address.scheme in ("", "file"):
            path = Path(unquote(address.path) if address.scheme else location).expanduser()
            if not exists(path):
                continue
            location = location if address.scheme else str(path)
        kept.append(location)
    return kept
