"""Media as parts of a message: pictures, videos and sounds in `data:` URLs."""

import base64
from pathlib import Path
from typing import Any

from mm_lora.core.asking import Embeds, Encoded, Picture, Sound, Video
from mm_lora.core.images import frame_jpeg, picture_png
from mm_lora.core.sounds import sound_wav


def data_url(picture: Picture) -> str:
    """The picture as the `data:` URL that the API takes."""
    return "data:image/png;base64," + base64.b64encode(picture_png(picture)).decode("ascii")


def video_url(video: Video) -> str:
    """The video as the `data:` URL of its JPEG frames (vLLM's `video/jpeg`: none is left out)."""
    frames = (base64.b64encode(frame_jpeg(one)).decode("ascii") for one in video.pictures)
    return "data:video/jpeg;base64," + ",".join(frames)


def shown_part(shown: Encoded) -> dict[str, Any]:
    """A picture, a video, or a sound as a WAV file, as a part of a message."""
    if isinstance(shown, Video):
        return {"type": "video_url", "video_url": {"url": video_url(shown)}}
    if isinstance(shown, Sound):
        data = base64.b64encode(sound_wav(shown)).decode("ascii")
        return {"type": "input_audio", "input_audio": {"data": data, "format": "wav"}}
    assert isinstance(shown, Picture)
    return {"type": "image_url", "image_url": {"url": data_url(shown)}}


def embeds_part(embeds: Embeds) -> dict[str, Any]:
    """The rows of a picture as a part of a message, in the place of its pixels."""
    rows = base64.b64encode(Path(embeds.file).read_bytes()).decode("ascii")
    beside = {name: list(numbers) for name, numbers in embeds.beside}
    told = {"image_embeds": rows, **beside} if beside else rows
    return {"type": "image_embeds", "image_embeds": told}
