"""The folder of one run: `DIR/<UTC time>-<hex>/`, `DIR/latest`, and files replaced atomically."""

import contextlib
import json
import os
import secrets
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from mm_lora.core.errors import ReportError, UsageError


class RunFolder:
    """Where one run writes. Raises ReportError when it cannot, before anything starts."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def create(cls, reports: Path) -> "RunFolder":
        """Make a new run folder below `reports` and point `latest` to it."""
        name = f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{secrets.token_hex(3)}"
        path = reports.absolute() / name
        try:
            path.mkdir(parents=True)
            latest = path.parent / "latest"
            fresh = path.parent / f".latest-{path.name}"
            fresh.symlink_to(path.name)
            os.replace(fresh, latest)
        except OSError as error:
            raise ReportError(
                f"the reports folder {reports} cannot be written: {error}",
                "its permissions and free space, or name another one with --reports",
            ) from error
        return cls(path)

    def write(self, name: str, text: str) -> Path:
        """Write a file so that a reader sees the old or the new content, never a part."""
        target = self.path / name
        fresh = target.with_name(f".{target.name}.{os.getpid()}.tmp")
        try:
            fresh.write_text(text, encoding="utf-8")
            os.replace(fresh, target)
        except OSError as error:
            fresh.unlink(missing_ok=True)
            raise ReportError(f"{target} cannot be written: {error}", "free space") from error
        return target

    def write_json(self, name: str, value: Any) -> Path:
        """`write` for JSON; infinities and NaN become strings, so any reader can parse it."""
        return self.write(name, dumps(value) + "\n")

    def append_json(self, name: str, value: Any) -> None:
        """Append one JSON line: raw observations and the journal, which are kept as they come."""
        self.append(name, dumps(value, indent=None) + "\n")

    def append(self, name: str, text: str) -> None:
        """Append to a file; only a kill or a full disk leaves a part of `text`."""
        try:
            with (self.path / name).open("a", encoding="utf-8") as file:
                file.write(text)
        except OSError as error:
            raise ReportError(f"{name} cannot be written: {error}", "free space") from error

    def remove(self, name: str) -> None:
        """Remove a file that is no longer needed; one that is not there is no error."""
        with contextlib.suppress(OSError):
            (self.path / name).unlink()


def dumps(value: Any, indent: int | None = 1) -> str:
    """JSON that every parser reads: not-finite numbers as the strings "inf", "-inf" and "nan"."""
    return json.dumps(_finite(value), indent=indent, ensure_ascii=False, default=str)


def _finite(value: Any) -> Any:
    if isinstance(value, float) and (value != value or value in (float("inf"), float("-inf"))):
        return str(value)
    if isinstance(value, dict):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_finite(item) for item in value]
    return value


def find_run(name: str, reports: Path) -> Path:
    """The folder of a stored run: `latest`, a name in `reports`, or a path; or UsageError."""
    for candidate in (reports / name, Path(name)):
        if (candidate / "report.json").is_file():
            return candidate
    raise UsageError(f"no run '{name}'", f"a folder with report.json, or a name below {reports}")
