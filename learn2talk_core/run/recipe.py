"""A model or a motion made for one corpus must not meet another: their units and meshes differ."""

from learn2talk_core.run.errors import BadInput


def refuse_other_recipe(where: object, recipe: str | None, wanted: str) -> None:
    """Refuse what was made for a corpus of another recipe (`Corpus.recipe`, e.g. "biwi-codetalker" and "biwi-metric").

    Args:
        where: the model or the motion, for the message.
        recipe: of the corpus that it was made for; None when it does not say.
        wanted: recipe of the corpus that it meets.
    """
    if recipe is not None and recipe != wanted:
        raise BadInput(
            where,
            expected=f"one made for the recipe {wanted} of this corpus",
            found=f"one for {recipe}",
            fix="Recipes cannot be mixed: make it again with this corpus, or prepare the corpus by the other recipe.",
        )
