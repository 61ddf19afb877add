"""`mm-lora settings`: every `--set` key, from the declarations that read them."""

import json
from dataclasses import asdict

from mm_lora.core.errors import ExitCode
from mm_lora.run.settings import Listed, listing

SCHEMA = 1


def run(as_json: bool) -> int:
    """Print the settings, as JSON or for a terminal."""
    if as_json:
        document = {"schema": SCHEMA, "settings": [asdict(one) for one in listing()]}
        print(json.dumps(document, ensure_ascii=False, indent=1))
        return ExitCode.PASS
    from rich.console import Console
    from rich.padding import Padding
    from rich.text import Text

    console = Console(highlight=False)
    for one in listing():
        console.print(Text.assemble((one.key, "bold cyan"), f"  {one.type}"))
        for line in _lines(one):
            console.print(Padding(Text(line), (0, 0, 0, 4)))
    return ExitCode.PASS


def _lines(one: Listed) -> list[str]:
    return [one.meaning, f"default: {one.default}", f"example: {one.example}"]
