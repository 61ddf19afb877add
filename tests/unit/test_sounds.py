"""Sounds as WAV files: what they hold, that they differ by seed, and how a request sends them."""

import base64
import io
import json
import wave
from dataclasses import asdict

import pytest

from mm_lora.core import typed
from mm_lora.core.asking import Picture, Request, Sound, Video
from mm_lora.core.errors import UsageError
from mm_lora.core.sounds import KINDS, sound_wav
from mm_lora.families.family import SoundSizes
from mm_lora.serving.client import messages


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_has_what_was_asked_for(kind: str) -> None:
    with wave.open(io.BytesIO(sound_wav(Sound(samples=2001, kind=kind)))) as file:
        assert (file.getnchannels(), file.getsampwidth()) == (1, 2)
        assert (file.getframerate(), file.getnframes()) == (16000, 2001)
        frames = file.readframes(2001)
    assert len(set(frames)) > 100


def test_seed_and_kind_make_other_sounds_and_nothing_else_does() -> None:
    asked = [Sound(samples=500, kind=kind, seed=seed) for kind in KINDS for seed in (0, 1)]
    assert len({sound_wav(sound) for sound in asked}) == 4
    assert len({sound.label for sound in asked}) == 4
    sound_wav.cache_clear()
    assert sound_wav(asked[0]) == sound_wav(Sound(samples=500))


@pytest.mark.parametrize("sound", [Sound(samples=0), Sound(samples=1, rate=0)])
def test_an_empty_sound_is_refused(sound: Sound) -> None:
    with pytest.raises(UsageError, match="no sound has"):
        sound_wav(sound)


def test_an_unknown_kind_is_refused() -> None:
    with pytest.raises(UsageError, match="no kind of sound 'song'"):
        sound_wav(Sound(samples=9, kind="song"))


def test_sounds_are_sent_in_the_place_of_pictures() -> None:
    sound = Sound(samples=400)
    request = Request(model="base", pictures=(sound,), videos=(Video(width=64, height=64),))
    assert request.media == (sound, *request.videos)
    (message,) = messages(request)
    heard, seen, text = message["content"]
    assert heard["type"] == "input_audio"
    assert heard["input_audio"]["format"] == "wav"
    assert base64.b64decode(heard["input_audio"]["data"]) == sound_wav(sound)
    assert (seen["type"], text["type"]) == ("video_url", "text")
    (message,) = messages(Request(model="base", pictures=(Picture(width=64, height=64),)))
    assert message["content"][0]["type"] == "image_url"


def test_the_roles_of_pictures_are_lengths() -> None:
    sizes = SoundSizes(one=(300, 16000))
    assert sizes.picture("one", seed=3) == Sound(samples=300, seed=3)
    assert sizes.drawn((7, 8000), 1, "noise") == Sound(samples=7, rate=8000, kind="noise", seed=1)
    assert sizes.question((7, 8000)).asked == Sound(samples=7, rate=8000)


def test_a_stored_request_is_read_back_with_what_it_showed() -> None:
    shown = (Sound(samples=9, kind="noise"), Picture(width=8, height=9))
    request = Request(model="base", pictures=shown)
    assert typed.convert(asdict(request), Request, "a file") == request
    plain = json.loads(json.dumps(asdict(request)))
    plain["pictures"][0]["loud"] = True
    with pytest.raises(UsageError, match="unknown key 'loud'"):
        typed.convert(plain, Request, "a file")
    plain["pictures"] = [{"samples": "many"}]
    with pytest.raises(UsageError, match="a file"):
        typed.convert(plain, Request, "a file")
