"""Media beyond one picture: videos, pictures beside videos, short sounds, many small media.

Only families that take videos have the video checks. A video is sent as its JPEG frames, none of
which vLLM leaves out, so that the reference sees the same frames.
"""

from dataclasses import replace

import pytest

from mm_lora.checks.context import Context
from mm_lora.checks.isolation.claims import MET, judge_scenario, until_met
from mm_lora.checks.isolation.traffic import Traffic
from mm_lora.checks.judging import Judge
from mm_lora.checks.roles import (
    Names,
    everyone,
    first_tower,
    groups,
    one_each,
    predictable,
)
from mm_lora.checks.row_claims import require_mixed, require_rows, watch
from mm_lora.checks.running import Served
from mm_lora.core.asking import BASE, Request, Video
from mm_lora.families.family import Family

VIDEO, AUDIO = "video", "audio"
FRAMES = (2, 4, 5)
"""An even number, and an odd one, whose last frame stands twice in a pair."""
LONG, ROOM = 32, 2048
"""Frames of a long video; placeholders that it has at most."""


def with_video(names: Names, family: Family) -> Names:
    return names if VIDEO in family.media else ()


def video_subjects(family: Family) -> Names:
    return with_video((BASE, *groups(family)), family)


def video_watched(family: Family) -> Names:
    return with_video((BASE, *dict.fromkeys(one_each(family))), family)


def video_towers(family: Family) -> Names:
    return with_video(first_tower(family), family)


def once(family: Family) -> Names:
    """One check for each model that takes videos."""
    return with_video((VIDEO,), family)


def sound_subjects(family: Family) -> Names:
    return (BASE, *groups(family)) if AUDIO in family.media else ()


ON_SERVER = pytest.mark.server(adapters=groups)
PROBED = pytest.mark.server(adapters=everyone, probe=True)


def clip(served: Served, seed: int = 0, frames: int = 4) -> Video:
    return served.family.sizes.video(seed, frames)


def require_reference(check: Judge, served: Served, request: Request) -> None:
    answer = served.ask(request)
    check.equal([], answer.problems(request, None), "the answer is not valid")
    truth = served.forced(request, answer, predict=predictable(served.family, request.model))
    check.equal(
        truth.prompt_tokens, answer.prompt_tokens, "the prompt differs from the reference's"
    )
    check.agrees(
        truth.adapted,
        answer.logprobs,
        base=None if request.model == served.base else truth.base,
        predictors=truth.predicted,
        ties=truth.ties,
    )


@pytest.mark.truth("reference")
@pytest.mark.check(
    "numerics/{model}/{adapter}/video",
    title="{adapter} agrees with transformers about a video, over 16 tokens' logprobs",
)
@ON_SERVER
@pytest.mark.each("adapter", video_subjects)
def test_video(model: str, adapter: str, served: Served, check: Judge) -> None:
    require_reference(check, served, Request(model=adapter, videos=(clip(served),)))


@pytest.mark.truth("reference")
@pytest.mark.check(
    "numerics/{model}/{adapter}/picture-and-video",
    title="{adapter} agrees with transformers about a picture and a video in one request",
)
@ON_SERVER
@pytest.mark.each("adapter", video_subjects)
def test_picture_and_video(model: str, adapter: str, served: Served, check: Judge) -> None:
    picture = served.family.sizes.picture("few", seed=5)
    request = Request(model=adapter, pictures=(picture,), videos=(clip(served, 6),))
    require_reference(check, served, request)


@pytest.mark.truth("reference")
@pytest.mark.check(
    "numerics/{model}/{adapter}/short-sound",
    title="{adapter} agrees with transformers about a sound that is shorter than a unit",
)
@ON_SERVER
@pytest.mark.each("adapter", sound_subjects)
def test_short_sound(model: str, adapter: str, served: Served, check: Judge) -> None:
    sizes = served.family.sizes
    shown = sizes.drawn(min(sizes.small), seed=7)
    require_reference(check, served, Request(model=adapter, pictures=(shown,)))


@pytest.mark.check(
    "arithmetic/{model}/rows/{name}/video",
    title="every layer sees the predicted rows of {name}'s videos, mapped to the right adapter",
)
@PROBED
@pytest.mark.each("name", video_watched)
def test_video_rows(model: str, name: str, served: Served, check: Judge) -> None:
    requests = [
        Request(model=name, videos=(clip(served, 20 + frames, frames),), max_tokens=4)
        for frames in FRAMES
    ]
    require_rows(check, served, watch(served, requests))


@pytest.mark.check(
    "arithmetic/{model}/rows/{name}/picture-and-video",
    title="every layer sees the predicted rows of a picture and a video in one request of {name}",
)
@PROBED
@pytest.mark.each("name", video_watched)
def test_mixed_media_rows(model: str, name: str, served: Served, check: Judge) -> None:
    pictures = (served.family.sizes.picture("few", seed=31),)
    request = Request(model=name, pictures=pictures, videos=(clip(served, 32),), max_tokens=4)
    require_rows(check, served, watch(served, [request]))


@pytest.mark.full
@pytest.mark.check(
    "arithmetic/{model}/rows/{name}/long-video",
    title="every layer sees the predicted rows of a video of many frames, whose adapter is {name}",
)
@PROBED
@pytest.mark.each("name", video_towers)
def test_long_video_rows(model: str, name: str, served: Served, check: Judge) -> None:
    frames = min(LONG, ROOM // served.flow(clip(served, frames=1)).prompt_tokens)
    request = Request(model=name, videos=(clip(served, 41, frames),), max_tokens=4)
    require_rows(check, served, watch(served, [request]))


@pytest.mark.full
@pytest.mark.check(
    "arithmetic/{model}/rows/several-media/{medium}",
    title="each row gets its own tenant's adapter when pictures and videos share a step",
)
@PROBED
@pytest.mark.each("medium", once)
def test_media_of_tenants(model: str, medium: str, served: Served, check: Judge) -> None:
    names = (served.base, *one_each(served.family))

    def requests(turn: int) -> list[Request]:
        seeds = range(400 + 20 * turn, 420 + 20 * turn)
        requests = []
        for name, seed in zip(names * 2, seeds, strict=False):
            picture = served.family.sizes.picture("few", seed)
            own = {"pictures": (picture,)} if seed % 2 else {"videos": (clip(served, seed),)}
            requests.append(replace(Request(model=name, max_tokens=4), **own))  # type: ignore[arg-type]
        return requests

    require_mixed(check, served, requests)


@pytest.mark.full
@pytest.mark.check(
    "isolation/{model}/mixed-media/{medium}",
    title="every tenant answers about pictures and videos in one batch as it does alone",
)
@PROBED
@pytest.mark.each("medium", once)
def test_mixed_media_answers(
    model: str, medium: str, served: Served, check: Judge, context: Context
) -> None:
    family = served.family
    requests = []
    for at, name in enumerate((served.base, *everyone(family))):
        picture = (family.sizes.picture("few", 50 + at),)
        video = (clip(served, 60 + at),)
        requests += [
            Request(model=name, pictures=picture, top=5),
            Request(model=name, videos=video, top=5),
        ]
    seen = until_met(Traffic(served, check.tolerance), [(requests, ())] * 3)
    judge_scenario(check, context, f"{model}/mixed-media", seen, MET)


@pytest.mark.full
@pytest.mark.check(
    "isolation/{model}/many-small/{server}",
    title="every tenant answers about many small pictures in one step as it does alone",
)
@PROBED
@pytest.mark.parametrize("server", ["free-slots"])
def test_many_small(
    model: str, server: str, served: Served, check: Judge, context: Context
) -> None:
    """As many pictures as a request may have, of every tenant."""
    family = served.family
    sizes = family.sizes.small
    count = family.limits[family.media[0]]
    requests = []
    for at, name in enumerate((served.base, *everyone(family))):
        shapes = (sizes[(at + place) % len(sizes)] for place in range(count))
        pictures = tuple(
            family.sizes.drawn(shape, 70 + 10 * at + i) for i, shape in enumerate(shapes)
        )
        requests.append(Request(model=name, pictures=pictures, top=5))
    seen = until_met(Traffic(served, check.tolerance), [(requests, ())] * 3)
    judge_scenario(check, context, f"{model}/many-small", seen, MET)
