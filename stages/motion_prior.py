"""corpus, speech encoder → data/models/motion_prior/NETWORK: what a network needs before it learns to speak.

CodeTalker: its codec; MeshTalk: its latent space; SelfTalk: which recogniser says what the lips should say. For a
network that needs nothing, the folder only says so.
"""

from dataclasses import dataclass, replace

from learn2talk_core.checkpoints.watched import refuse_unwatched
from learn2talk_core.corpus.format import open_corpus
from learn2talk_core.models.speech_encoders.loading import load_speech_encoder
from learn2talk_core.run.config import load_params, shared
from learn2talk_core.run.errors import BadInput
from learn2talk_core.run.files import whole_folder, write_json
from learn2talk_core.run.networks import checkpoints_of, network_names, training_of
from learn2talk_core.run.paths import CORPUS, CURVES, METRICS, MOTION_PRIOR, NOTHING, SPEECH_ENCODER, is_nothing
from learn2talk_core.run.stage import run
from learn2talk_core.run.weights import parameter_count
from learn2talk_core.training.loop import write_curve
from learn2talk_core.training.scratch import open_scratch


@dataclass(frozen=True)
class Params:
    """The group `prior` of the network is read besides."""

    seed: int = shared()
    networks: dict[str, str] = shared()


def main(params: Params, network: str) -> str:
    training, checkpoint = training_of(network, "networks"), params.networks.get(network, NOTHING)
    recipe = load_params(training.NetworkRecipe, network).prior
    out, about = f"{MOTION_PRIOR}/{network}", {"network": network}
    curve, numbers = f"{CURVES}/motion_prior/{network}.csv", f"{METRICS}/motion_prior/{network}.json"
    if recipe is None:
        noted = not is_nothing(checkpoint)
        if noted and not hasattr(training, "save_motion_prior"):
            fix = f"Write weights/none there; a whole {network} is named at students.NAME.checkpoint."
            expected = f"{NOTHING}: {network} learns nothing before it learns to speak"
            raise BadInput(f"params.yaml: networks.{network}", expected=expected, found=checkpoint, fix=fix)
        if noted:
            refuse_unwatched(checkpoint, f"networks.{network}", [])
            about["checkpoint"] = checkpoint
        with whole_folder(out) as folder:
            if noted:
                training.save_motion_prior(folder, checkpoint, open_corpus(CORPUS))
            else:
                write_json(folder / "model.json", {**about, "prior": None})
        write_curve([{"step": 0.0}], curve)
        write_json(numbers, about)
        return f"{network} learns from {checkpoint}" if noted else f"{network} needs none"
    corpus = open_corpus(CORPUS)
    if not is_nothing(checkpoint):
        refuse_unwatched(checkpoint, f"networks.{network}", [])
        prior, history = checkpoints_of(network).import_motion_prior(checkpoint, corpus), [{"step": 0.0}]
        with whole_folder(out) as folder:
            training.save_motion_prior(folder, prior, corpus)
        about["checkpoint"] = checkpoint
    else:
        decisive = (replace(params, networks={}), recipe)
        with open_scratch(f"motion_prior-{network}", decisive, [CORPUS, SPEECH_ENCODER]) as scratch:
            prior, history = training.train_motion_prior(
                corpus,
                load_speech_encoder(SPEECH_ENCODER),
                corpus.split("train"),
                recipe,
                seed=params.seed,
                scratch=scratch,
                description=f"{network}, prior",
            )
            with whole_folder(out) as folder:
                training.save_motion_prior(folder, prior, corpus)
            scratch.remove()
    write_curve(history, curve)
    last = {key: value for key, value in history[-1].items() if key != "step"}
    write_json(numbers, {**about, "parameters": parameter_count(prior), **last})
    return f"prior of {network}, {parameter_count(prior) / 1e6:.1f} million parameters"


if __name__ == "__main__":
    run(main, Params, roles=network_names())
