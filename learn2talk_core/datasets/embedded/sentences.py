"""Sentences to be spoken: from a small grammar, as many as needed, and prose of our own, `prose.txt`.

The grammar's words are chosen to cover the English phonemes, with many that need the lips (p b m f v w).
"""

import random
from collections.abc import Container
from functools import cache
from pathlib import Path

_WORDS = {
    "who": "the baker/my brother/a young father/the happy farmer/our neighbour/Barbara/the old fisherman/Peter/"
    "a famous singer/the judge/her mother/Joyce/the pilot/a quiet child/Thomas/the blue robot/George/my teacher/"
    "the village nurse/Phoebe/a brave woman/Hugh/the whole family/Shawn/the purple bird/your cousin Beth",
    "did": "bought/moved/found/painted/measured/borrowed/brought back/pushed/washed/watched/carried/fixed/broke/"
    "wrapped/saved/chose/threw away/picked up/hid/opened/shook/gave away/boiled/enjoyed/followed/forgot",
    "how": "big/warm/yellow/fresh/broken/beautiful/smooth/heavy/quick/cheap/vague/rough/proper/loud/foggy/thirsty/"
    "golden/wooden/huge/tiny/bumpy/velvet/usual/marble/juicy/awful/weird/good/pure",
    "what": "boat/map/feather/pumpkin/window/van/rubber ball/coffee/shoe box/garage door/bathtub/watch/television/"
    "paper cup/toothbrush/movie/violin/bridge/cheese/wheel/chair/treasure/leaf/mushroom/ship/puzzle/coin/thumb/"
    "newspaper/hammer/moth/pool/beige vase/toy/fire/earring/cube/book",
    "whats": "boats/feathers/pumpkins/windows/vans/cups/bushes/bees/mothers/books/toys/chairs/fish/wolves/thieves/"
    "judges/oysters/bubbles/pages/youths",
    "where": "near the river/behind the barn/in the morning/above the shop/under the bridge/on the beach/"
    "for a few months/before breakfast/by the window/after the movie/at the harbour/with both hands/"
    "through the fog/around the pool/every Thursday/from a cheap shop/on the garage floor",
    "ask": "would you/could we/why should they/may I/who will/how often do they/when can we/where did you",
    "do": "help me move/bring back/give up/put away/choose/measure/remember/improve/show off/leave behind/buy",
    "many": "two/three/four/five/six/seven/eight/nine/ten/twelve/fifteen/thirty/forty/a thousand",
    "often": "usually/carefully/probably/never/always/quietly/maybe/obviously/rarely",
}
_PATTERNS = (
    "{who} {did} the {how} {what} {where}.",
    "{who} {often} {did} {many} {how} {whats}.",
    "{ask} {do} the {how} {what} {where}?",
    "{where}, {who} {did} a {how} {what}.",
    "{who} and {who} {did} {many} {whats}.",
    "{many} {how} {whats} were {often} {where}.",
)
LENGTHS = range(47, 66)  # characters; read aloud, such a sentence lasts about 3 to 5 s with its pauses
LONG = 80  # characters; longer prose is for the 2D corpus only, since whole clips of the 3D corpus are trained on


def make_sentences(count: int, seed: int, avoid: Container[str] = (), lengths: Container[int] = LENGTHS) -> list[str]:
    """`count` different sentences of these lengths, none of them in `avoid`; the same seed gives the same sentences."""
    choose = random.Random(f"sentences {seed}").choice
    lists = {name: words.split("/") for name, words in _WORDS.items()}
    made: dict[str, None] = {}  # used as an ordered set
    while len(made) < count:
        words = choose(_PATTERNS)
        for name in lists:
            while f"{{{name}}}" in words:
                words = words.replace(f"{{{name}}}", choose(lists[name]), 1)
        sentence = words[0].upper() + words[1:]
        if len(sentence) in lengths and sentence not in avoid:
            made[sentence] = None
    return list(made)


@cache
def prose() -> dict[str, tuple[str, ...]]:
    """Our own prose: sentences of the 3D corpus ("corpus") and of the 2D corpus ("films"); none is in both."""
    sentences = Path(__file__).with_name("prose.txt").read_text(encoding="utf-8").splitlines()
    corpus = [sentence for sentence in sentences if len(sentence) <= LONG][::2]
    return {"corpus": tuple(corpus), "films": tuple(sentence for sentence in sentences if sentence not in corpus)}
