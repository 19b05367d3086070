import pytest

from learn2talk_core.run.errors import BadInput
from scripts.sweep import recipes_of


def test_all_combinations_of_the_values_of_a_recipe() -> None:
    assert recipes_of("voca", []) == [{}]
    assert recipes_of("voca", ["learning_rate=0.001,0.003", "batch=4"]) == [
        {"learning_rate": 0.001, "batch": 4},
        {"learning_rate": 0.003, "batch": 4},
    ]


@pytest.mark.parametrize("text", ["speed=1", "learning_rate", "batch=0.5", "vertex_loss=sum", "smoothing=1"])
def test_what_is_no_number_of_the_recipe(text: str) -> None:
    expected = "values of vertex_stride, steps, batch, learning_rate" if text.startswith("smo") else "learning_rate"
    network = "meshtalk" if text.startswith("smo") else "voca"
    with pytest.raises(BadInput, match=rf"--vary: expected .*{expected}.* found {text}\."):
        recipes_of(network, [text])
