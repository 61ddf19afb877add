"""Renders a template as one self-contained HTML file: nothing is fetched, nothing is sent.

A content policy in the page forbids every request, and every script but the page's own.
"""

import base64
import hashlib
import shlex
from functools import cache
from typing import TYPE_CHECKING, Any

from mm_lora.core.styles import SYMBOLS
from mm_lora.core.version import __version__
from mm_lora.report import text

if TYPE_CHECKING:
    from jinja2 import Environment


def render(template: str, **values: Any) -> str:
    """The page of that template with these values; all of them are escaped."""
    from markupsafe import Markup  # no command needs it until a page is written

    style, script = (_source(name) for name in ("page.css", "page.js"))
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return (
        _environment()
        .get_template(template)
        .render(
            style=Markup(style),
            script=Markup(script),
            script_hash=f"sha256-{digest}",
            version=__version__,
            **values,
        )
    )


@cache
def _environment() -> "Environment":
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("mm_lora.report"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )
    environment.filters.update(number=text.number, clock=text.clock, lines=text.lines)
    environment.filters["shell"] = shlex.join
    environment.globals.update(symbols=SYMBOLS, tokens=text.tokens)
    return environment


def _source(name: str) -> str:
    environment = _environment()
    assert environment.loader is not None
    return environment.loader.get_source(environment, name)[0]
