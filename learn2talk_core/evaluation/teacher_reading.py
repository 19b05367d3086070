"""How well the judging lip reader, which no loss uses, recognises speech in the teacher's videos.

A student cannot learn from its teacher what a lip reader cannot see there.
"""

from collections.abc import Sequence

from learn2talk_core.evaluation.judge import Judging, perception_ratios
from learn2talk_core.metrics.ratio import Ratio, add_ratios
from learn2talk_core.models.lipreader import read_lips
from learn2talk_core.video.mouths import Mouths


def read_teacher_clip(mouths: Mouths, judging: Judging, clip_id: str) -> dict[str, Ratio]:
    """Lip-read the teacher's video of one clip of the 3D corpus, from its mouth crops; measured as for students."""
    reading = read_lips(judging.judges.reader, judging.judges.head, mouths.frames(clip_id))
    return perception_ratios(judging.clips[clip_id], reading, reading.features, judging.judges.units)


def teacher_scores(films: Sequence[dict[str, Ratio]]) -> dict[str, float | None]:
    """Error rate and viseme accuracy over all of the teacher's videos; None where nothing is known."""
    scores = {key: add_ratios(film[key] for film in films).value for key in ("lipread_error", "viseme_accuracy")}
    return {"clips": len(films), **scores}
