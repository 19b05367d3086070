"""The lip reader's stage: what it refuses."""

import pytest

from learn2talk_core.run.errors import BadInput
from stages.lipreader import demand_whole_blocks


def test_widths_that_end_the_program_on_some_processors_are_refused() -> None:
    demand_whole_blocks(24)
    with pytest.raises(BadInput, match=r"params\.yaml: lipreader\.network\.width: expected a multiple of 8, found 12"):
        demand_whole_blocks(12)
