"""A picture of the lip features of chosen words, as SelfTalk's Fig. 4: a SelfTalk that reads lips keeps them apart.

    python -m scripts.lip_words shop="SH AA P" move="M UW V" -o lip_words.png

Each word is given with its phonemes (ARPABET), as the corpus has them. The features are those of the lips that the
student moves to the sound of the validation and test clips, one point for each 20 ms in the word, brought to two
dimensions by t-SNE. The printed number says how well the words can be told apart in all dimensions: the share of points
whose nearest neighbour in another clip belongs to the same word. With --against MODEL the picture has a second half for
another SelfTalk, for example one that was trained without its interpreter.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from learn2talk_core.corpus.format import Corpus, open_corpus
from learn2talk_core.evaluation.lip_reading import LipFeatures, features_of_word, load_interpreter
from learn2talk_core.report.png import save_png
from learn2talk_core.run.errors import BadInput
from learn2talk_core.run.paths import CORPUS, STUDENTS
from learn2talk_core.run.program import run_program

DEFAULT = ("shop=SH AA P", "move=M UW V", "cheap=CH IY P")  # frequent in the embedded corpus


def main(words: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("words", nargs="*", default=DEFAULT, metavar="WORD=PHONEMES", help="default: %(default)s")
    parser.add_argument("--model", default=f"{STUDENTS}/selftalk", help="folder of a SelfTalk (default: %(default)s)")
    parser.add_argument("--against", metavar="MODEL", help="another SelfTalk, for the second half of the picture")
    parser.add_argument("--corpus", default=CORPUS)
    parser.add_argument("--truth", action="store_true", help="read the lips of the true motion, not of the student's")
    parser.add_argument("-o", "--out", default="lip_words.png")
    arguments = parser.parse_args(words)

    def work() -> int:
        corpus = open_corpus(arguments.corpus)
        chosen = dict(spelling(word) for word in arguments.words)
        models = [arguments.model] + ([arguments.against] if arguments.against else [])
        found = [lip_features(model, corpus, chosen, student=not arguments.truth) for model in models]
        for model, words in zip(models, found, strict=True):
            counts = ", ".join(f"{word} {len(parts)} times" for word, parts in words.items())
            print(f"{model}: {100 * told_apart(words):.0f} % of the points are next to their own word ({counts})")
        save_png(arguments.out, picture([title(model) for model in models], found))
        return 0

    return run_program("lip_words", work)


def title(model: str) -> str:
    """The folder of a model, or the one above it, if all are called “student”, as those of `scripts.compare`."""
    folder = Path(model)
    return folder.parent.name if folder.name == "student" else folder.name


def spelling(text: str) -> tuple[str, list[str]]:
    """A word and its phonemes, from `WORD=PHONEMES`."""
    word, _, phonemes = text.partition("=")
    if not word or not phonemes.split():
        fix = 'Give it as mother="M AH DH ER".'
        raise BadInput("words", expected="a word and its phonemes", found=repr(text), fix=fix)
    return word, phonemes.upper().split()


def lip_features(
    model: str, corpus: Corpus, words: dict[str, list[str]], *, student: bool
) -> dict[str, list[LipFeatures]]:
    """The lip features of each word in the clips that the model was not trained on."""
    interpreter = load_interpreter(model, corpus)
    clips = corpus.split("validation", "test_seen", "test_unseen")
    found = {word: features_of_word(interpreter, corpus, clips, names, student) for word, names in words.items()}
    for word, parts in found.items():
        if len({part.clip for part in parts}) < 2:
            fix = "Choose a word of the corpus, spelled with its phonemes."
            raise BadInput(word, expected="two clips or more in which it is spoken", found=str(len(parts)), fix=fix)
    return found


def told_apart(words: dict[str, list[LipFeatures]]) -> float:
    """The share of points whose nearest neighbour in another clip belongs to the same word."""
    points = np.concatenate([part.features for parts in words.values() for part in parts])
    of_word = np.concatenate([np.full(len(p.features), i) for i, parts in enumerate(words.values()) for p in parts])
    clips = np.concatenate([np.full(len(p.features), p.clip) for parts in words.values() for p in parts])
    distance = np.linalg.norm(points[:, None] - points[None], axis=-1)
    distance[clips[:, None] == clips[None]] = np.inf
    return float((of_word[distance.argmin(1)] == of_word).mean())


def picture(names: Sequence[str], found: Sequence[dict[str, list[LipFeatures]]]) -> Figure:
    """One scatter plot for each model."""
    from sklearn.manifold import TSNE

    figure = Figure(figsize=(5 * len(names), 4.6), layout="tight")
    axes = figure.subplots(1, len(names), squeeze=False)
    for axis, name, words in zip(axes[0], names, found, strict=True):
        points = np.concatenate([part.features for parts in words.values() for part in parts])
        perplexity = min(30.0, (len(points) - 1) / 3)
        flat = TSNE(perplexity=perplexity, init="pca", random_state=0).fit_transform(points)
        begin = 0
        for word, parts in words.items():
            count = sum(len(part.features) for part in parts)
            axis.scatter(*flat[begin : begin + count].T, s=8, label=word)
            begin += count
        axis.set_title(name, fontsize="small")
        axis.set_xticks([])
        axis.set_yticks([])
        axis.legend()
    return figure


if __name__ == "__main__":
    raise SystemExit(main())
