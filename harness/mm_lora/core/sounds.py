"""Sounds made with the standard library, as WAV files: tones that a seed varies, and noise.

Equal parameters give equal bytes.
"""

import io
import math
import random
import sys
import wave
from array import array
from functools import lru_cache

from mm_lora.core.asking import Sound
from mm_lora.core.errors import UsageError

KINDS = ("tones", "noise")
TONE_S = 0.125
"""Seconds after which another tone begins."""
LOUD = 0.4
PITCHES = (200.0, 3500.0)
"""The lowest and the highest, in Hz: as speech has them."""
HISS = 0.02
"""Beside the tones: a silent band would have the same numbers in every sound."""


def samples_of(sound: Sound) -> "array[int]":
    """Its samples as signed 16-bit numbers. Raises UsageError."""
    if sound.kind not in KINDS:
        raise UsageError(f"no kind of sound '{sound.kind}'", f"one of {', '.join(KINDS)}")
    if min(sound.samples, sound.rate) < 1:
        raise UsageError(f"no sound has {sound.samples} samples at {sound.rate} Hz", "the length")
    chance = random.Random(sound.seed)
    noise = (chance.uniform(-1, 1) for _ in range(sound.samples))
    if sound.kind == "noise":
        return array("h", (round(32767 * LOUD * value) for value in noise))
    tones = random.Random(f"tones-{sound.seed}")
    length, pitch, made = round(TONE_S * sound.rate) or 1, 0.0, array("h")
    for place, hiss in enumerate(noise):
        if place % length == 0:
            pitch = tones.uniform(*PITCHES)
        tone = math.sin(2 * math.pi * pitch * place / sound.rate)
        made.append(round(32767 * (LOUD * tone + HISS * hiss)))
    return made


@lru_cache(maxsize=256)
def sound_wav(sound: Sound) -> bytes:
    """The sound as a WAV file of one channel; equal sounds have equal bytes."""
    samples = samples_of(sound)
    if sys.byteorder == "big":
        samples.byteswap()
    file = io.BytesIO()
    with wave.open(file, "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(sound.rate)
        out.writeframes(samples.tobytes())
    return file.getvalue()
