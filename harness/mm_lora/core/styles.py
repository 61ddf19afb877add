"""How each outcome looks on a terminal."""

STYLES = {
    "pass": "green",
    "fail": "bold red",
    "void": "yellow",
    "error": "magenta",
    "known-defect": "cyan",
    "fixed-upstream": "blue",
    "skip": "dim",
    "empty": "yellow",
}
