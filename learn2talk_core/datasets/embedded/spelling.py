"""Sentences → the phonetic symbols that Kokoro reads: IPA with one letter for each diphthong and affricate.

eSpeak NG spells the words, in a separate process. American and British spelling differ in some symbols.
"""

import json
import re
from collections.abc import Sequence

from learn2talk_core.datasets.embedded.espeak_process import run_espeak
from learn2talk_core.run.errors import BadInput

STRESS, LENGTH = "ˈˌ", "ː"
PAUSES = frozenset(",.;:!?—…")
_SYMBOLS = "ɑ æ a ʌ ə ᵊ ɔ ɒ W I b ʧ d ð ɛ ɜ A f ɡ h ɪ ᵻ i ʤ k l m n ŋ O Q Y p ɹ s ʃ t T θ ʊ u v w j z ʒ"
_NAMES = (
    "AA AE AE AH AH AH AO AA AW AY B CH D DH EH ER EY F G HH IH IH IY JH K L M N NG OW OW OY P R S SH T T TH UH UW V W "
    "Y Z ZH"
)
ARPABET: dict[str, str] = dict(zip(_SYMBOLS.split(), _NAMES.split(), strict=True))
# eSpeak's IPA → Kokoro's symbols, the first that fits. `^` joins the two letters of one sound.
_BOTH = {
    **{"a^ɪ": "I", "a^ʊ": "W", "e^ɪ": "A", "ɔ^ɪ": "Y", "t^ʃ": "ʧ", "d^ʒ": "ʤ", "ə^l": "ᵊl"},
    **{"ʔ": "t", "r": "ɹ", "x": "k"},
    **{"ɐ": "ə", "n̩": "ᵊn", "l̩": "ᵊl", "m̩": "ᵊm", "ʲ": "", "^": "", "g": "ɡ", "e": "A", "\u0303": ""},
}
_AMERICAN = {"o^ʊ": "O", "oː": "ɔ", "ɜː": "ɜɹ", "ɜːɹ": "ɜɹ", "ɚ": "əɹ", "ɚɹ": "əɹ", "ɾ": "T", "ː": ""}
_BRITISH = {"ə^ʊ": "Q", "e^ə": "ɛː", "iə": "ɪə", "ɚ": "ə", "ɾ": "t", "oː": "ɔː"}


def spell(texts: Sequence[str], *, british: bool) -> list[str]:
    """Each text in Kokoro's symbols, with its punctuation but without quotation marks.

    Raises:
        BadInput: the optional package is missing, or a word has a sound that English lacks.
    """
    split = [_clauses(text) for text in texts]
    words = sorted({part for parts in split for part in parts if part[0] not in PAUSES})
    voice = "gmw/en" if british else "gmw/en-US"
    heard = json.loads(run_espeak({"voice": voice, "spell": words}, "spelling"))
    spelt = {word: to_symbols(ipa, word, british=british) for word, ipa in zip(words, heard, strict=True)}
    return [re.sub(r" (?=[,.;:!?…])", "", " ".join(spelt.get(part, part) for part in parts)) for parts in split]


def to_symbols(ipa: str, word: str, *, british: bool) -> str:
    """eSpeak's IPA of a word → Kokoro's symbols.

    Raises:
        BadInput: a sound for which there is no ARPAbet phoneme; the message begins with `word`.
    """
    table = _BOTH | (_BRITISH if british else _AMERICAN)
    keys = sorted(table, key=len, reverse=True)
    symbols = re.sub("|".join(map(re.escape, keys)), lambda match: table[match[0]], ipa.strip())
    known = {*ARPABET, *STRESS, " ", LENGTH if british else ""}
    if unknown := sorted({symbol for symbol in symbols if symbol not in known}):
        found = f"{' '.join(unknown)} in {ipa.strip()}"
        raise BadInput(repr(word), expected="sounds of English", found=found, fix="Use another word.")
    return symbols


def _clauses(text: str) -> list[str]:
    """Words and punctuation in turn."""
    parts = re.findall(r"[^,.;:!?—…]+|[,.;:!?—…]+", re.sub('["“”]', "", text))
    return [part.strip() for part in parts if part.strip()]
