"""How each outcome looks: its colour on a terminal, and a symbol for those who see no colours."""

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

SYMBOLS = {
    "pass": "✓",
    "fail": "✗",
    "void": "○",
    "error": "!",
    "known-defect": "◆",
    "fixed-upstream": "↑",
    "skip": "–",
    "empty": "○",
}
