"""A model or a motion made for one corpus must not be used with another: their units and meshes differ."""

from learn2talk_core.run.errors import BadInput


def refuse_other_recipe(where: object, recipe: str | None, wanted: str) -> None:
    """Refuse a model or motion for another recipe (`Corpus.recipe`, for example "biwi-codetalker" or "biwi-metric").

    Args:
        where: the model or the motion, for the message.
        recipe: of the corpus that it was made for; None if unknown.
        wanted: the recipe of the corpus that it is used with.
    """
    if recipe is not None and recipe != wanted:
        raise BadInput(
            where,
            expected=f"one made for the recipe {wanted} of this corpus",
            found=f"one for {recipe}",
            fix="Recipes cannot be mixed: make it again with this corpus, or prepare the corpus with the other recipe.",
        )
