"""What the lambdas that the paper prints weigh, by the reading of its equations (docs/papers.md).

    dvc repro && python -m benchmarks.loss_weights [--clips 8]

The share of a term of Eq. 8 is the norm of its weighted gradient divided by that of the vertex loss, both at the
decoder's states. Means over some training clips of the embedded corpus (metres, 30 fps), with the FaceFormer and the
SyncNet3D in data/ and an untrained lip reader of the official size that compares its front-end's features with noise.
A corpus in units of u metres is computed from that: the gradient of a sum of norms grows by 1 / u, that of a mean
square by 1 / u², and a sum with the number of vertices.
"""

import argparse

import numpy as np
import torch
from torch import Tensor

from learn2talk_core.corpus.format import Clip, open_corpus
from learn2talk_core.losses.vertex import Form, vertex_loss
from learn2talk_core.models.lipreader import FPS, LipReader
from learn2talk_core.models.students.loading import load_student
from learn2talk_core.models.syncnet3d import load_syncnet3d
from learn2talk_core.run import paths
from learn2talk_core.run.program import run_program
from learn2talk_core.run.resample import resampled_count
from learn2talk_core.run.seed import seed_torch
from learn2talk_core.run.weights import frozen
from learn2talk_core.training.student import true_displacement
from learn2talk_core.training.student_terms import embed_speech, lipread_term, sync_term

FORMS: tuple[Form, ...] = ("sum", "mean")
# name: unit in metres, vertices, lambda1, lambda2
SETTINGS = {
    "VOCASET as printed": (1.0, 5_023, 5e-4, 5e-7),
    "BIWI as printed": (0.185, 23_370, 5e-6, 1e-2),
    "VOCASET exchanged": (1.0, 5_023, 5e-7, 5e-4),
}


def gradient_norms(clips: int) -> dict[str, float]:
    """Norms of the gradients at the states, means over clips: of the vertex loss by its form (`sum` per vertex), of
    Eq. 7 as a mean and as a sum over windows, and of Eq. 6."""
    corpus = open_corpus(paths.CORPUS)
    student, speakers = load_student(f"{paths.STUDENTS}/faceformer", made_by="dvc repro", recipe=corpus.recipe)
    syncnet = load_syncnet3d(f"{paths.SYNCNET3D}/loss", corpus.recipe)
    training = corpus.split("train")
    chosen = training[:: max(1, len(training) // clips)][:clips]
    seed_torch(0, "loss weights")
    frozen(reader := LipReader(50))
    noise = {c.id: torch.randn(resampled_count(c.frames, corpus.fps, FPS), 512) for c in chosen}
    sync = sync_term(corpus, syncnet, embed_speech(corpus, chosen, syncnet))
    read = lipread_term(corpus, reader, "frontend", noise, frames=None, clips_per_step=1, seed=0, published=True)
    vertices = len(corpus.topology.colours)

    def norms(clip: Clip) -> dict[str, float]:
        style = torch.eye(len(speakers))[speakers.index(clip.speaker)][None]
        h = student.predict_states(corpus.audio(clip), corpus.fps, style, clip.frames).clone().requires_grad_()
        truth, mask = true_displacement(corpus, [clip], clip.frames, slice(None), 1.0, h.device)

        def norm(loss: Tensor) -> float:
            return float(torch.autograd.grad(loss, h)[0].norm())

        found: dict[str, float] = {}
        for form in FORMS:
            found[form] = norm(vertex_loss(student.displacement(h).flatten(2), truth, mask, form))
        found["sum"] /= vertices
        found["sync, mean"] = norm(sync(student, h, [clip], unit=1.0, step=0))
        found["sync, sum"] = found["sync, mean"] * (clip.frames - syncnet.shape.window + 1)
        found["lipread"] = norm(read(student, h, [clip], unit=1.0, step=0))
        return found

    rows = [norms(clip) for clip in chosen]
    return {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}


def main(clips: int) -> int:
    norms = gradient_norms(clips)
    print(*(f"{name} {value:.3g}" for name, value in norms.items()), sep=", ")
    print("\n| Eq. 3 | Eq. 7 | " + " | ".join(f"{name}: λ1, λ2" for name in SETTINGS) + " |")
    print("|---" * (2 + len(SETTINGS)) + "|")
    for form in FORMS:
        for over in ("mean", "sum"):
            cells = []
            for unit, vertices, lambda1, lambda2 in SETTINGS.values():
                vertex = norms[form] * (vertices / unit if form == "sum" else unit**-2)
                shares = lambda1 * norms[f"sync, {over}"] / vertex, lambda2 * norms["lipread"] / vertex
                cells.append(f"{shares[0]:.2g}, {shares[1]:.2g}")
            print(f"| {form} | {over} | " + " | ".join(cells) + " |")
    return 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=8, help="training clips (default: %(default)s)")
    arguments = parser.parse_args()
    raise SystemExit(run_program("benchmarks.loss_weights", lambda: main(arguments.clips)))
