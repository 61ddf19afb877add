"""Pictures, videos and sounds from the sizes that users write: `700x400`, `8x320x240`, `48000`."""

from dataclasses import replace

from mm_lora.core.asking import Picture, Sound, Video
from mm_lora.core.errors import UsageError


def picture(image: str) -> Picture:
    """A picture of the size `700x400`. Raises UsageError for another text."""
    width, height = parse_size(image)
    return Picture(width=width, height=height)


def parse_size(image: str) -> tuple[int, int]:
    """(width, height) of a size like `700x400`; `×` is understood too. UsageError otherwise."""
    numbers = _numbers(image)
    if len(numbers) != 2 or 0 in numbers:
        raise UsageError(
            f"{image!r} is not a picture size", "WIDTHxHEIGHT in pixels, such as 700x400"
        )
    return numbers[0], numbers[1]


def parse_video(video: str) -> Video:
    """The video of `8x320x240`: frames, width, height. UsageError otherwise."""
    numbers = _numbers(video)
    if len(numbers) != 3 or 0 in numbers[1:]:
        raise UsageError(
            f"{video!r} is not a video's size",
            "FRAMESxWIDTHxHEIGHT, the frames that the model sees, such as 8x320x240",
        )
    return Video(frames=numbers[0], width=numbers[1], height=numbers[2])


def parse_sound(sound: str) -> Sound:
    """The sound of `48000` samples, or of `48000x16000`: samples, samples in a second."""
    numbers = _numbers(sound)
    if len(numbers) not in (1, 2) or 0 in numbers:
        raise UsageError(
            f"{sound!r} is not a sound's length",
            "SAMPLES at 16000 in a second, such as 48000, or SAMPLESxRATE",
        )
    made = Sound(samples=numbers[0])
    return replace(made, rate=numbers[1]) if len(numbers) == 2 else made


def _numbers(size: str) -> list[int]:
    """The whole numbers between crosses; empty if one is none."""
    parts = size.lower().replace("×", "x").split("x")
    return [int(part) for part in parts] if all(part.isdecimal() for part in parts) else []
