"""Videos in the place of pictures: sizes by frames, how they are stored, sent and told of."""

import pytest

from mm_lora.core import typed
from mm_lora.core.asking import Picture, Request, Shown, Sound, Video
from mm_lora.families.family import VideoSizes
from mm_lora.families.flow import Flow
from mm_lora.families.videos import Clip
from mm_lora.report.pictures.flow import _strips, _tiles
from mm_lora.serving.client import messages
from mm_lora.serving.media_parts import video_url

SIZES = VideoSizes(one=(1, 64), few=(2, 80), many=(4, 100))


def test_sizes_are_frames_and_their_side() -> None:
    assert SIZES.picture("few", seed=3) == Video(frames=2, width=80, height=80, seed=3)
    assert SIZES.drawn((3, 9), kind="noise") == Video(frames=3, width=9, height=9, kind="noise")
    clip = SIZES.question((3, 9))
    assert clip == Clip("3x9", 3, 9)
    assert (clip.seen_size, clip.asked) == ((3, 9), Video(frames=3, width=9, height=9))


@pytest.mark.parametrize(
    "shown",
    [Video(frames=2, width=80, height=60), Picture(width=8, height=9), Sound(samples=500)],
)
def test_what_is_shown_is_stored_as_what_it_is(shown: Shown) -> None:
    request = Request(model="base", pictures=(shown,))
    assert typed.convert(typed.plain(request), Request, "a test") == request


def test_a_video_is_sent_the_same_wherever_it_stands() -> None:
    video = SIZES.picture("few")
    assert isinstance(video, Video)
    (message,) = messages(Request(model="base", pictures=(video,)))
    assert message["content"][0] == {"type": "video_url", "video_url": {"url": video_url(video)}}
    assert messages(Request(model="base", videos=(video,))) == [message]


def test_a_flow_names_what_its_size_is() -> None:
    rows = {"encoder": 8}
    flow = Flow(name="4×9×9", size=(4, 9), rows=rows, tokens=4, prompt_tokens=4, units=4)
    assert flow.as_json()["width"] == 4
    video = Flow(
        name="4×9×9",
        size=(4, 9),
        rows=rows,
        tokens=4,
        prompt_tokens=4,
        units=4,
        measures=("frames", "height"),
    )
    assert {"frames": 4, "height": 9}.items() <= video.as_json().items()
    assert len(list(_strips(video))) == 4
    assert len(list(_tiles(flow))) == 1
