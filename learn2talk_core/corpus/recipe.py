"""A model or a motion made for one corpus must not meet another: their units and meshes differ."""

from learn2talk_core.corpus.format import Corpus
from learn2talk_core.errors import BadInput


def refuse_other_recipe(where: object, recipe: str | None, corpus: Corpus) -> None:
    """Refuse what was made for a corpus of another recipe (`Corpus.recipe`, e.g. "biwi-codetalker" and "biwi-metric").

    Args:
        where: the model or the motion, for the message.
        recipe: of the corpus that it was made for; None when it does not say.
        corpus: which it meets.
    """
    if recipe is not None and recipe != corpus.recipe:
        raise BadInput(
            where,
            expected=f"one made for the recipe {corpus.recipe} of {corpus.folder}",
            found=f"one for {recipe}",
            fix="Recipes cannot be mixed: make it again with this corpus, or prepare the corpus by the other recipe.",
        )
