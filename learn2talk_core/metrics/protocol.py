"""Name, unit, direction (lower or higher is better) and definition of every metric.

The LVE of two systems can be compared only if formula, region and unit agree, so every result is printed with them.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from learn2talk_core.corpus.format import Corpus
from learn2talk_core.mesh.topology import Topology

Goal = Literal["lower", "higher", "zero", "one"]
FLAME_LIPS = 250  # distinct vertices in FLAME_masks.pkl, which lists 254: four are duplicates
BIWI_TEST_A = (24, 3879)  # clips, frames


@dataclass(frozen=True)
class Metric:
    """One metric as it is reported.

    Attributes:
        key: its name in `metrics/evaluate.json`.
        name: its name in a table.
        unit: of the value; `unit` stands for the corpus's own unit of length.
        goal: which values are good.
        protocol: whose definition, in one line.
        region: the region of the topology that it uses, if any.
    """

    key: str
    name: str
    unit: str
    goal: Goal
    protocol: str
    region: str | None = None


METRICS: tuple[Metric, ...] = (
    Metric("lse_d", "LSE-D", "", "lower", "SyncNet: min over shifts of the mean distance, per clip", "mouth"),
    Metric("lse_c", "LSE-C", "", "higher", "SyncNet: median minus min over shifts, per clip", "mouth"),
    Metric("lse_d0", "distance at 0", "", "lower", "mean distance of pairs not shifted, per clip", "mouth"),
    Metric(
        "lve",
        "LVE",
        "unit²",
        "lower",
        "CodeTalker, torchmetrics: squared distance of the worst lip vertex, per frame",
        "lips",
    ),
    Metric("lve_mm", "LVE", "mm", "lower", "the same with the root taken, per frame", "lips"),
    Metric("fdd", "FDD", "unit²", "zero", "CodeTalker: signed, of squared displacements, per clip", "upper_face"),
    Metric("fdd_abs", "abs. FDD", "unit²", "lower", "FaceDiffuser: CodeTalker's, absolute per clip", "upper_face"),
    Metric("fdd_mm2", "FDD", "mm²", "zero", "CodeTalker's, in square millimetres", "upper_face"),
    Metric("fdd_abs_mm2", "abs. FDD", "mm²", "lower", "FaceDiffuser's, in square millimetres", "upper_face"),
    Metric("lrp", "LRP", "%", "higher", "SelfTalk Eq. 18, per frame", "lips"),
    Metric("mve_mm", "MVE", "mm", "lower", "mean vertex error, root taken, per frame (FaceDiffuser)"),
    Metric("closure_mm", "closure error", "mm", "lower", "|lip gap − true lip gap| at frames of p, b, m"),
    Metric(
        "velocity_mm_s",
        "velocity error",
        "mm/s",
        "lower",
        "mean over lip vertices, per step",
        "lips",
    ),
    Metric("gap_variance", "gap variance", "", "one", "variance of the lip gap over time, divided by the truth's"),
    Metric("lipread_error", "reading error", "", "lower", "what the judging lip reader gets wrong"),
    Metric(
        "viseme_accuracy",
        "viseme accuracy",
        "",
        "higher",
        "judging lip reader against known phonemes, whose probabilities are summed per viseme",
    ),
    Metric("lipread_cosine", "reading cosine", "", "higher", "judging lip reader's embedding to the truth's"),
)


def protocols(
    topology: Topology, mm_per_unit: float, lrp_threshold_mm: float, *, read: str = "phonemes"
) -> dict[str, dict[str, str | int | float]]:
    """Name, unit, goal, protocol, region and number of vertices on this corpus, for each key of `METRICS`.

    `read` is what the judging lip reader outputs: phonemes, or characters for an official reader.
    """
    table: dict[str, dict[str, Any]] = {}
    for metric in METRICS:
        row: dict[str, Any] = {
            "name": metric.name,
            "unit": metric.unit.replace("unit", unit_name(mm_per_unit)),
            "goal": metric.goal,
            "protocol": metric.protocol,
        }
        if metric.region is not None and metric.region in topology.regions:
            row |= {"region": metric.region, "vertices": len(topology.regions[metric.region])}
        table[metric.key] = row
    table["lve"]["mm_per_unit"] = mm_per_unit
    table["lrp"]["threshold_mm"] = lrp_threshold_mm
    table["lipread_error"]["protocol"] += f" of the {read}, greedy CTC"
    table["mve_mm"]["vertices"] = len(topology.colours)
    for key in ("closure_mm", "gap_variance"):
        table[key]["lip_pairs"] = len(topology.lip_pairs)
    return table


def describe_corpus(corpus: Corpus) -> dict[str, Any]:
    """What results on this corpus can be compared with: `tests` (test → name of its protocol), unit, and notes.

    A protocol's name is `dataset-test/definition`: `biwi-test-a/codetalker` (frames of unit area, CodeTalker's lists of
    vertices), `voca/flame-lips-250`, or `recipe/test` where nobody else has published numbers.
    """
    lips, unit = len(corpus.topology.regions["lips"]), unit_name(corpus.mm_per_unit)
    seen, unseen = f"{corpus.recipe}/seen", f"{corpus.recipe}/unseen"
    notes = []
    if corpus.recipe.startswith("biwi-"):
        recipe = corpus.recipe.removeprefix("biwi-")
        seen, unseen = f"biwi-test-a/{recipe}", f"biwi-test-b/{recipe}"
        clips = corpus.split("test_seen")
        found = len(clips), sum(clip.frames for clip in clips)
        if found != BIWI_TEST_A:
            published = "BIWI-Test-A has {} clips and {} frames, found {} and {}: not comparable with published numbers"
            notes.append(published.format(*BIWI_TEST_A, *found))
    elif corpus.recipe == "vocaset" and lips == FLAME_LIPS:
        unseen = "voca/flame-lips-250"
        notes.append("LVE equals that of voca/flame-lips-254: the four vertices listed twice do not change a maximum")
    elif corpus.recipe == "vocaset":
        unseen = f"voca/lips-{lips}"
    if not any(clip.phonemes for clip in corpus.split("test_seen", "test_unseen")):
        notes.append("no phonemes are known: no closure error, reading error and viseme accuracy")
    if not len(corpus.topology.lip_pairs):
        notes.append("no facing lip vertices are known: no gap variance and closure error")
    return {
        "recipe": corpus.recipe,
        "fps": corpus.fps,
        "unit": unit,
        "mm_per_unit": corpus.mm_per_unit,
        "tests": {"seen": seen, "unseen": unseen},
        "notes": notes,
    }


def describe_test(evaluate: Mapping[str, Any], test: str) -> str:
    """Clips, frames used and trimmed, protocol and unit of one test of `metrics/evaluate.json`, in one line."""
    rows, corpus = evaluate[test], evaluate.get("corpus", {})
    parts = []
    if "frames" in rows.get("truth", {}):
        parts.append(f"{rows['truth']['clips']} clips and {rows['truth']['frames']} frames")
        parts.append(f"{max(int(row.get('frames_trimmed', 0)) for row in rows.values())} frames trimmed")
    if corpus:
        parts.append(f"protocol {corpus['tests'].get(test, corpus['recipe'])}")
        parts.append(f"1 {corpus['unit']} = {corpus['mm_per_unit']:g} mm")
    return ", ".join(parts)


def unit_name(mm_per_unit: float) -> str:
    """Metres and millimetres by name; any other unit of length is called `unit` (BIWI's is about 185 mm)."""
    return {1000.0: "m", 1.0: "mm"}.get(float(mm_per_unit), "unit")
