"""How well the judging lip reader, which no loss uses, recognises speech in the teacher's videos.

A student cannot learn from its teacher what a lip reader cannot see there.
"""

from pathlib import Path

from learn2talk_core.corpus.format import Corpus
from learn2talk_core.evaluation.judge import perception_ratios
from learn2talk_core.metrics.ratio import add_ratios
from learn2talk_core.models.lipreader import load_lipreader, load_units, read_lips
from learn2talk_core.run.device import run_device
from learn2talk_core.run.progress import progress
from learn2talk_core.video.mouths import open_mouths


def read_teacher(corpus: Corpus, mouths: str | Path, lipreader: str) -> dict[str, float | None]:
    """Error rate and viseme accuracy over all of the teacher's videos, as for students; None where nothing is known.

    Args:
        corpus: the 3D corpus, whose texts and phonemes are said in the videos.
        mouths: folder of the videos' mouth crops.
        lipreader: folder of the judging lip reader.
    """
    reader, head = load_lipreader(lipreader)
    for network in (reader, head):
        if network is not None:
            network.to(run_device())
    units, crops = load_units(lipreader), open_mouths(mouths)
    spoken = {clip.id: clip for clip in corpus.clips}
    found = []
    for name in progress(crops.clips, "the teacher's videos", unit="clip"):
        reading = read_lips(reader, head, crops.frames(name))
        found.append(perception_ratios(spoken[name], reading, reading, units))
    scores = {key: add_ratios(one[key] for one in found).value for key in ("lipread_error", "viseme_accuracy")}
    return {"clips": len(found), **scores}
