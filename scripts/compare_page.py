"""docs/comparison.{md,png,mp4}, from the finished trainings of `scripts/compare.py`."""

import dataclasses
import statistics
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from learn2talk_core.corpus.format import Corpus
from learn2talk_core.corpus.predictions import open_predictions
from learn2talk_core.metrics.protocol import protocols
from learn2talk_core.report.examples import load_example
from learn2talk_core.report.face import portrait_camera, portraits
from learn2talk_core.report.names import PALETTE, row_title
from learn2talk_core.report.over_seeds import ClipRow, OverSeeds, pooled_seeds, seed_table
from learn2talk_core.report.side_by_side import side_by_side, sound
from learn2talk_core.run.config import load_params
from learn2talk_core.run.files import whole_file
from learn2talk_core.run.progress import progress
from learn2talk_core.run.students import REFERENCE_ROWS
from learn2talk_core.video.video_file import write_video
from scripts.compare_arms import TESTS, Arm, Job, Result, recipe_in_params, recipe_of
from stages import evaluate

Results = Mapping[Arm, Mapping[int, Result]]  # arm → seed → result, of what is finished
References = Mapping[str, Sequence[ClipRow]]  # test → a row for each clip and reference

TITLES = {"unseen": "Unseen speakers (as VOCA-Test)", "seen": "Seen speakers (as BIWI-Test-A)"}
LEARN2TALK = ("lse_d", "lse_c", "lve_mm", "fdd_abs_mm2")  # columns of Learn2Talk, Table III
SELFTALK = ("lve_mm", "fdd_abs_mm2", "lrp")  # columns of SelfTalk, Tables 1, 2 and 4
OTHER = ("closure_mm", "velocity_mm_s", "gap_variance", "lipread_error", "viseme_accuracy")
CHANGES = ("lve_mm", "lse_d", "lse_c", "lrp", "fdd_abs_mm2", "closure_mm", "lipread_error")
ANY_STYLE = ("lve_mm", "lrp", "lse_d", "lse_c", "fdd_abs_mm2")
VIDEO_CLIPS, VIDEO_HEIGHT = 2, 260

METHOD = """\
Every network has the same corpus, speech encoder, experts and judges, and sees the same number of frames. A prior
(CodeTalker's codec, MeshTalk's latent space), which sees motion before the network learns to speak, comes on top of
that: its frames and its time are listed. Learn2Talk's two losses have the weights of `params.yaml` for all networks,
as shares of the vertex loss's gradient. Recipes are those of `params.yaml`; numbers in them may be chosen on the
validation clips only.

In brackets: the 95 % interval over test clips, drawn with all of their seeds; after ±: half the range of several seeds.
Bold: the best trained row. Two rows whose intervals overlap are not shown to differ; differences of rows have intervals
of their own below, which are narrower, because both rows have the same clips. LVE takes the root of each frame's
largest squared distance; FDD is the mean of absolute values; LRP is the share of lip vertices that are off by less than
{threshold:g} mm. Unseen speakers are judged in the training style with the lowest LVE, as in the papers, which favours
networks with many styles; MeshTalk and SelfTalk have none. A commit with a plus: files of the working tree differed."""
JUDGES = """\
Several machines have trained. They round differently, so that each has a SyncNet3D of its own, made with the same
parameters. Differences of rows are taken only where the same SyncNet3D has judged both."""
STYLES = """\
A user does not know the best style: means over all training styles, ± half the range over the seeds."""
DIFFERENCES = """\
Each row minus the plain row of its network, clip by clip and seed by seed. Bold: an interval without
zero, which is a difference that these clips show."""
COST = """\
Computing time of one thread, also of what a killed training had to repeat. Parameters are those of the whole student
with its speech encoder, and of what only its training needs: SelfTalk's interpreter, CodeTalker's codec, MeshTalk's
encoders. Prediction is from sound to vertices."""
RECIPES = """\
Different for all: batches of {batch} clips with AdamW, warm-up and cosine decay, because they need fewer steps
(FaceFormer and SelfTalk: Adam with a constant rate, single clips; CodeTalker: single clips, its codec with AdamW and a
rate that is halved on VOCASET; VOCA: Adam, 64 pairs of frames; MeshTalk: Adam, 8 windows, at a tenth of its rate in the
end); the losses on every {vertex_stride}-th vertex, from a random first one, which is unbiased; the speech encoder of
`params.yaml`, whose convolutions and first layers stay (the papers: wav2vec 2.0, base or large), because it is small
enough for a CPU."""
MARKERS = "o^vxsDP*"  # of the rows of a network, in their order
# Network → its paper and code; here; why, besides what is different for all. Fields in braces are of its recipe.
RECIPE_ROWS = {
    "faceformer": (
        "d = 64 (VOCASET), last layer from zero, dropout 0.1, 1e-4, 100 epochs",
        "d = {width}, last layer from principal components, dropout {dropout:g}, {steps} steps, {learning_rate:g}",
        "from zero it needs many more steps",
    ),
    "selftalk": (
        "d = 512, interpreter 1024 wide with 6 + 6 layers, letters of a large wav2vec 2.0 in training mode, dropout "
        "0.1, 1e-4, 100 epochs",
        "d = {width}, interpreter as wide as the recogniser with {lip_layers} + {lip_layers} layers, phonemes (unless "
        "`networks.selftalk` names a recogniser of letters) in evaluation mode, dropout {dropout:g}, {steps} steps, "
        "{learning_rate:g}, the interpreter {interpreter_learning_rate:g}, which begins with the recogniser's map from "
        "features to text; latent and text loss a tenth of the printed weights",
        "letters would need a recogniser of letters; dropout and masking disturb its targets; CTC would not begin "
        "to learn in so few steps; with the printed weights lips move by a code that only the interpreter can read",
    ),
    "codetalker": (
        "codec and decoder 1024 wide, 6 layers, 256 codes from uniform, 200 and 100 epochs, 1e-4; first token without "
        "bias in prediction only; feature loss 1 with motion in metres",
        "{width} wide, {layers} layers, codebook from features, {prior_steps} and {steps} steps, {prior_rate:g} and "
        "{learning_rate:g}; first token alike; {past_dropout:.0%} of the past frames hidden in teacher forcing; "
        "feature loss {feature_weight:g} with motion in its own unit; padding masked",
        "so that all codes are used from the start, and the past is not copied; in metres the vertex loss would not "
        "count; batches need masks",
    ),
    "voca": (
        "DeepSpeech's 29 logits at 60 Hz, 64 pairs of frames, 52,280 steps, 1e-4",
        "hidden states of the frozen speech encoder at 60 Hz, whole clips, {steps} steps, {learning_rate:g}; velocity "
        "loss {velocity:g} as printed",
        "DeepSpeech is a dead dependency; losses that need successive frames can be added to whole clips",
    ),
    "meshtalk": (
        "50,000 and 15,000 steps of 8 windows, 1e-4; a loss on key points of the eyes; no vertex loss in its second "
        "stage",
        "{prior_steps} and {steps} steps, {prior_rate:g} and {learning_rate:g}; hidden states of the frozen speech "
        "encoder; other initial weights; no such loss; the vertex loss is added with Learn2Talk's losses only",
        "all hear alike; torch's initial weights stop the gradient for thousands of steps; the corpora have no such "
        "points; the weights of Learn2Talk's losses are shares of the vertex loss",
    ),
}
LIMITS = """\
A corpus whose recipe begins with “embedded” is generated: all speakers articulate by the same rules on faces of one
family, and much of the upper face's motion is independent of the sound. Such a corpus shows whether a network learns
what sound determines, whether the lips close, and what a loss changes. It does not show which network looks best on
recordings of people, or how much data each needs: published orders of networks do not carry over between real data
sets either. Training is short and networks are small: one that needs more steps or width is at a disadvantage. FDD says
little, because no network can know the part of the upper face that the sound does not determine. LSE says in sync, not
true: the truth need not be the best row, and a network trained on SyncNet3D's loss has an advantage in it, although
another SyncNet3D judges."""


def write_comparison(
    docs: Path, results: Results, missing: Sequence[Job], references: References, corpus: Corpus, out: Path, clips: int
) -> None:
    """Write `comparison.md`, `.png` and `.mp4` into the folder `docs`.

    Args:
        docs: the folder.
        results: of all arms with a finished seed, in the order of the rows.
        missing: what is not finished.
        references: see `judged_references`.
        corpus, out, clips: of the comparison.
    """
    docs.mkdir(parents=True, exist_ok=True)
    write_side_by_side(docs / "comparison.mp4", results, corpus, out)
    with whole_file(docs / "comparison.png") as partial:
        lip_sync_against_error(results).savefig(partial, format="png", dpi=130)
    with whole_file(docs / "comparison.md") as partial:
        partial.write_text(page(results, missing, references, corpus, clips), encoding="utf-8")


def page(results: Results, missing: Sequence[Job], references: References, corpus: Corpus, clips: int) -> str:
    """The content of comparison.md."""
    threshold = load_params(evaluate.Params, "evaluate").lrp_threshold_mm
    names = protocols(corpus.topology, corpus.mm_per_unit, threshold)
    every = [result for own in results.values() for result in own.values()]
    commits = sorted({result["commit"] for result in every})
    seeds = sorted({seed for own in results.values() for seed in own})
    parts = [
        "# Comparison of the networks",
        f"Written by `python -m scripts.compare`: corpus `{corpus.recipe}`, {len(corpus.split('train'))} training "
        f"clips, {clips} drawn in each training, seeds {', '.join(map(str, seeds))}, commit {', '.join(commits)}.",
        *missing_lines(missing),
        METHOD.format(threshold=threshold),
        *([JUDGES] if len({result["judge"] for result in every}) > 1 else []),
    ]
    for test in TESTS:
        if not references[test]:
            continue
        shown, rows = (
            reference_values(references[test]),
            {arm.title: values_of(own, test) for arm, own in results.items()},
        )
        parts += [f"## {TITLES[test]}", "### Learn2Talk, Table III", seed_table(shown | rows, LEARN2TALK, names)]
        parts += ["### SelfTalk, Tables 1, 2 and 4", seed_table(shown | rows, SELFTALK, names)]
        parts += ["### Other measures", seed_table(shown | rows, OTHER, names)]
        if any("student_mean_style" in result["rows"][test] for result in every):
            parts += ["### Any style", STYLES, style_table(results, test, names)]
        if changed := differences(results, test):
            parts += ["### What the losses change", DIFFERENCES, seed_table(changed, CHANGES, names, differences=True)]
    parts += ["## Lip sync against vertex error", "![One point for each network and seed](comparison.png)"]
    parts += ["[All networks side by side](comparison.mp4), with sound."]
    parts += ["## Cost", COST, cost_table(results)]
    parts += ["## Recipes", recipe_table(results, clips)]
    parts += ["## What this can and cannot tell", LIMITS]
    return "\n\n".join(parts) + "\n"


def missing_lines(missing: Sequence[Job]) -> list[str]:
    """What the document does not contain yet; nothing if it is complete."""
    if not missing:
        return []
    seeds: dict[str, list[str]] = {}
    for job in missing:
        seeds.setdefault(job.arm.title, []).append(str(job.seed))
    rows = "\n".join(f"- {title}: seed {', '.join(own)}" for title, own in seeds.items())
    return [
        f"**Not complete.** {len(missing)} trainings are missing; `python -m scripts.compare` makes them:\n\n{rows}"
    ]


def values_of(own: Mapping[int, Result], test: str) -> dict[str, OverSeeds | float | None]:
    """All metrics of an arm over its seeds."""
    runs = [[row for row in own[seed]["clips"][test] if row["row"] == "student"] for seed in sorted(own)]
    return {key: pooled_seeds(runs, key) for key in {*LEARN2TALK, *SELFTALK, *OTHER}}


def reference_values(rows: Sequence[ClipRow]) -> dict[str, dict[str, OverSeeds | float | None]]:
    """The same of the references, as plain numbers: they have no seed, and are never the best."""
    found: dict[str, dict[str, OverSeeds | float | None]] = {}
    for name in REFERENCE_ROWS:
        run = [row for row in rows if row["row"] == name]
        values = {key: pooled_seeds([run], key) for key in {*LEARN2TALK, *SELFTALK, *OTHER}}
        found[row_title(name)] = {key: None if value is None else value.mean for key, value in values.items()}
    return found


def differences(results: Results, test: str) -> dict[str, dict[str, OverSeeds | float | None]]:
    """Metrics of each variant minus those of its network as in its paper, over the seeds that both have and that the
    same SyncNet3D has judged."""
    plain = {arm.network: own for arm, own in results.items() if not arm.variant}
    found: dict[str, dict[str, OverSeeds | float | None]] = {}
    for arm, own in results.items():
        others: Mapping[int, Result] = plain.get(arm.network, {}) if arm.variant else {}
        both = sorted(seed for seed in set(own) & set(others) if own[seed]["judge"] == others[seed]["judge"])
        if both:
            pairs = [(by_clip(own[seed], test), by_clip(plain[arm.network][seed], test)) for seed in both]
            found[arm.title] = {key: pooled_seeds([minus(*pair, key) for pair in pairs], key) for key in CHANGES}
    return found


def by_clip(result: Result, test: str) -> dict[str, ClipRow]:
    """The scores of the student by clip."""
    return {row["clip"]: row for row in result["clips"][test] if row["row"] == "student"}


def minus(rows: Mapping[str, ClipRow], others: Mapping[str, ClipRow], key: str) -> list[ClipRow]:
    """A row per clip with the difference of a metric; its weight, such as the number of frames, is the same in both."""
    both = [(row, others[clip]) for clip, row in rows.items() if None not in (row.get(key), others[clip].get(key))]
    weight = f"{key}_weight"
    return [{"clip": row["clip"], key: row[key] - other[key], weight: row[weight]} for row, other in both]


def style_table(results: Results, test: str, names: Mapping[str, Mapping[str, Any]]) -> str:
    """Means over all training styles; of a network without styles, those of its only motion."""
    every = [result["rows"][test]["student"] for own in results.values() for result in own.values()]
    keys = [key for key in ANY_STYLE if all(key in row for row in every)]
    lines = ["| | " + " | ".join(f"{names[key]['name']} {names[key]['unit']}".strip() for key in keys) + " |"]
    lines.append("|---|" + "---|" * len(keys))
    for arm, own in results.items():
        rows = [result["rows"][test] for result in own.values()]
        chosen = [row.get("student_mean_style", row["student"]) for row in rows]
        cells = []
        for key in keys:
            values = [row[key] for row in chosen]
            spread = f" ± {(max(values) - min(values)) / 2:.3f}" if len(values) > 1 else ""
            cells.append(f"{statistics.mean(values):.3f}{spread}")
        lines.append(f"| {arm.title} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def cost_table(results: Results) -> str:
    """Parameters, frames, and the computing time of training and prediction, means over seeds."""
    lines = [
        "| | parameters, million | frames seen | and by the prior | training, min | of that the prior "
        "| prediction, ms per second |",
        "|---|---|---|---|---|---|---|",
    ]
    for arm, own in results.items():

        def mean(key: str, own: Mapping[int, Result] = own) -> float:
            return statistics.mean(result[key] for result in own.values())

        prior = mean("prior_seconds") / 60
        total = mean("training_seconds") / 60 + prior
        lines.append(
            f"| {arm.title} | {mean('parameters') / 1e6:.2f} | {mean('frames'):.0f} | {mean('prior_frames'):.0f} "
            f"| {total:.1f} | {prior:.1f} | {mean('prediction_ms_per_second'):.1f} |"
        )
    return "\n".join(lines)


def recipe_table(results: Results, clips: int) -> str:
    """Where the recipe of each network differs from its paper's, with the numbers of params.yaml."""
    plain = [arm for arm in results if not arm.variant]
    recipes = {arm.network: recipe_of(arm, recipe_in_params(arm.network), clips) for arm in plain}
    if not recipes:
        return ""
    fields = {network: dataclasses.asdict(recipe) for network, recipe in recipes.items()}
    common = {
        field: " or ".join(str(value) for value in sorted({own[field] for own in fields.values()}))
        for field in ("batch", "vertex_stride")
    }
    lines = ["| | its paper and code | here | why |", "|---|---|---|---|"]
    for network, own in fields.items():
        prior = own.get("prior") or {}
        ahead = {"prior_steps": prior.get("steps"), "prior_rate": prior.get("learning_rate")}
        row = [part.format(**own, **ahead) for part in RECIPE_ROWS[network]]
        lines.append(f"| {row_title(network)} | " + " | ".join(row) + " |")
    return RECIPES.format(**common) + "\n\n" + "\n".join(lines)


def lip_sync_against_error(results: Results) -> Figure:
    """One point per arm and seed: LVE to the right, LSE-D upwards, both better towards zero."""
    figure = Figure(figsize=(12, 5), layout="constrained")
    networks = list(dict.fromkeys(arm.network for arm in results))
    for axes, test in zip(figure.subplots(1, len(TESTS)), TESTS, strict=True):
        for arm, own in results.items():
            values = values_of(own, test)
            lve, lse = values["lve_mm"], values["lse_d"]
            if not (isinstance(lve, OverSeeds) and isinstance(lse, OverSeeds)):
                continue
            variants = [other.variant for other in results if other.network == arm.network]
            marker = MARKERS[variants.index(arm.variant)]
            colour = PALETTE[networks.index(arm.network) % len(PALETTE)]
            axes.plot(lve.seeds, lse.seeds, marker, color=colour, alpha=0.4, linestyle="none")
            axes.plot(lve.mean, lse.mean, marker, color=colour, markersize=9, linestyle="none", label=arm.title)
        axes.set(title=TITLES[test], xlabel="LVE, mm", ylabel="LSE-D")
    axes.legend(fontsize=7, loc="center left", bbox_to_anchor=(1, 0.5))
    return figure


def write_side_by_side(path: Path, results: Results, corpus: Corpus, out: Path) -> None:
    """A video of the networks as in their papers and of Learn2Talk, on the first clips of the tests; all with the first
    seed whose motion is in `out`."""
    shown = [arm for arm in results if not arm.variant or arm.network == "faceformer"]
    seeds = sorted({seed for arm in shown for seed in results[arm]})
    motion = {seed: {arm: out / f"{arm.name}-seed{seed}" / "predicted" for arm in shown} for seed in seeds}
    absent = {
        seed: [str(at) for arm, at in motion[seed].items() if seed not in results[arm] or not at.is_dir()]
        for seed in seeds
    }
    seed = min(seeds, key=lambda seed: len(absent[seed]))
    if absent[seed]:
        print(f"{path} is not written: there is no motion in {', '.join(absent[seed])}")
        return
    folders = motion[seed]
    predicted = {arm.title.partition(" (")[0]: open_predictions(folder, corpus) for arm, folder in folders.items()}
    examples = []
    for test in TESTS:
        rows = {
            name: results[arm][seed]["rows"][test].get("student", {})
            for name, arm in zip(predicted, shown, strict=True)
        }
        for clip in corpus.split(f"test_{test}")[:VIDEO_CLIPS]:
            examples.append((test, load_example(corpus, clip, predicted, rows)))

    def frames() -> Iterator[np.ndarray]:
        for test, example in progress(examples, "side by side", unit="clip"):
            camera = portrait_camera(corpus.topology, corpus.template(example.clip.speaker))
            panels: dict[str, np.ndarray | None] = {
                row_title(name): portraits(
                    motion, corpus.topology, camera, VIDEO_HEIGHT, int(0.8 * VIDEO_HEIGHT), supersample=1
                )
                for name, motion in example.motions.items()
            }
            text = f"“{example.clip.text}” ({test} speaker)"
            yield from side_by_side(panels, text, example.clip.phonemes, corpus.fps)

    audio = [sound(corpus.audio(e.clip), len(e.motions["truth"]), corpus.fps) for _, e in examples]
    write_video(path, frames(), corpus.fps, np.concatenate(audio), qp=24)
