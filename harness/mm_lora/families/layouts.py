"""What every layout checks of a model's numbers, and of a picture."""

from collections.abc import Mapping
from typing import Any

from mm_lora.core.errors import UsageError


def require_whole(layout: Any, *names: str) -> None:
    """Raise UsageError where an attribute of these names is no whole number above zero."""
    for name in names:
        value = getattr(layout, name)
        if isinstance(value, bool) or not isinstance(value, int) or value <= 0:
            raise UsageError(f"{name} is {value!r}; it must be a whole number above zero", name)


def require_picture(width: int, height: int) -> None:
    """Raise UsageError for a picture without a pixel."""
    if min(width, height) < 1:
        raise UsageError(f"no picture has {width}x{height} pixels", "the size")


def vision_of(config: Mapping[str, Any], title: str) -> Mapping[str, Any]:
    """The vision_config of a config.json. Raises UsageError where it has none.

    `title`: of the family, for the message.
    """
    vision = config.get("vision_config")
    if not isinstance(vision, Mapping):
        raise UsageError("the config has no vision_config", f"a config.json of a whole {title}")
    return vision
