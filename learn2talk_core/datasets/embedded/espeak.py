"""A separate program: sentences on standard input → speech with phoneme events, or spelling, on standard output.

eSpeak NG (GPL-3.0-or-later, from the wheel espeakng-loader) is loaded here and nowhere else. It is neither thread-safe
nor reproducible within a process: random state and the phase of the wave carry over from one sentence to the next. A
fresh process, one seed and a fixed order of sentences give the same samples every time.

Input: JSON {voice, pitch, pitch_range, rate, seed, texts}. Output: an `.npz` with `rate` and, for sentence i, `wave_i`
(int16), `start_i` (first sample of each phoneme) and `name_i` (eSpeak's mnemonics).

Input: JSON {voice, spell}, a list of words without punctuation. Output: JSON, the IPA of each; `^` joins the two
letters of one sound (`a^ɪ`).
"""

import ctypes
import io
import json
import sys

import numpy as np

SYNCHRONOUS, PHONEME_EVENTS, DO_NOT_EXIT = 2, 0x0001, 0x8000  # AUDIO_OUTPUT and option bits of speak_lib.h
RATE, PITCH, RANGE = 1, 3, 4  # espeak_PARAMETER
LIST_TERMINATED, PHONEME = 0, 7  # espeak_EVENT_TYPE
UTF8 = 1
IPA, JOINED = 0x02, 0x80 | ord("^") << 8  # phoneme modes of espeak_TextToPhonemes


class _Identity(ctypes.Union):
    _fields_ = (("number", ctypes.c_int), ("name", ctypes.c_char_p), ("string", ctypes.c_char * 8))


class _Event(ctypes.Structure):
    _fields_ = (
        ("type", ctypes.c_int),
        ("unique_identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_position", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("id", _Identity),
    )


_Callback = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event)
)  # t_espeak_callback


def main() -> None:
    import espeakng_loader  # imported here, so that importing this module does not need the optional package

    request = json.load(sys.stdin)
    library = ctypes.CDLL(espeakng_loader.get_library_path())
    path = espeakng_loader.get_data_path().encode()
    rate = library.espeak_Initialize(SYNCHRONOUS, 0, path, PHONEME_EVENTS | DO_NOT_EXIT)
    if rate <= 0:
        sys.exit(f"espeak_Initialize returned {rate}")
    if library.espeak_SetVoiceByName(request["voice"].encode()) != 0:
        sys.exit(f"eSpeak has no voice {request['voice']!r}")
    answer = _spelling(library, request["spell"]) if "spell" in request else _speech(library, request, rate)
    sys.stdout.buffer.write(answer)


def _spelling(library: ctypes.CDLL, clauses: list[str]) -> bytes:
    library.espeak_TextToPhonemes.restype = ctypes.c_char_p
    library.espeak_TextToPhonemes.argtypes = [ctypes.POINTER(ctypes.c_char_p), ctypes.c_int, ctypes.c_int]
    spelt = []
    for clause in clauses:
        rest, parts = ctypes.c_char_p(clause.encode()), []
        while rest.value is not None:  # NULL after the last part
            parts.append(library.espeak_TextToPhonemes(ctypes.byref(rest), UTF8, IPA | JOINED).decode())
        spelt.append(" ".join(parts))
    return json.dumps(spelt).encode()


def _speech(library: ctypes.CDLL, request: dict, rate: int) -> bytes:
    library.espeak_ng_SetRandSeed.argtypes = [ctypes.c_long]
    library.espeak_ng_SetRandSeed(request["seed"] % 100_000)
    for parameter, name in ((RATE, "rate"), (PITCH, "pitch"), (RANGE, "pitch_range")):
        library.espeak_SetParameter(parameter, request[name], 0)

    chunks: list[np.ndarray] = []
    phonemes: list[tuple[int, str]] = []

    def receive(wave, count, events):  # type: ignore[no-untyped-def]
        if wave and count > 0:
            chunks.append(np.ctypeslib.as_array(wave, (count,)).copy())
        i = 0
        while events[i].type != LIST_TERMINATED:
            if events[i].type == PHONEME:
                raw = ctypes.string_at(ctypes.addressof(events[i].id), 8)
                phonemes.append((events[i].sample, raw.split(b"\0")[0].decode("utf-8", "replace")))
            i += 1
        return 0

    callback = _Callback(receive)  # ctypes keeps no reference itself
    library.espeak_SetSynthCallback(callback)
    library.espeak_Synth.argtypes = [
        ctypes.c_char_p,
        ctypes.c_size_t,
        ctypes.c_uint,
        ctypes.c_int,
        ctypes.c_uint,
        ctypes.c_uint,
        ctypes.POINTER(ctypes.c_uint),
        ctypes.c_void_p,
    ]
    result: dict[str, np.ndarray] = {"rate": np.array(rate)}
    for i, text in enumerate(request["texts"]):
        chunks.clear()
        phonemes.clear()
        raw = text.encode()
        error = library.espeak_Synth(raw, len(raw) + 1, 0, 1, 0, UTF8, None, None)
        library.espeak_Synchronize()
        if error:
            sys.exit(f"espeak_Synth returned {error} for {text!r}")
        result[f"wave_{i}"] = np.concatenate(chunks) if chunks else np.zeros(0, np.int16)
        result[f"start_{i}"] = np.array([start for start, _ in phonemes], np.int64)
        result[f"name_{i}"] = np.array([name for _, name in phonemes], np.str_)
    buffer = io.BytesIO()
    np.savez(buffer, **result)  # type: ignore[arg-type]
    return buffer.getvalue()


if __name__ == "__main__":
    main()
