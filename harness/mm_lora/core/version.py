"""The version of mm-lora: what the wheel, `--version` and every report say."""

__version__ = "0.2.0"
