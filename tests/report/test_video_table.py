from pathlib import Path

from learn2talk_core.report.video_table import video_score_table, write_csv

PROTOCOL = {
    "lse_d": {"name": "LSE-D", "unit": "", "goal": "lower", "protocol": "lse/syncnet_v2: least mean distance"},
    "offset": {"name": "AV offset", "unit": "frames", "goal": "zero", "protocol": "lse/syncnet_v2: frames"},
    "fid": {"name": "FID", "unit": "", "goal": "lower", "protocol": "fid/inception-2015-12-05"},
}
ROWS = [
    {"video": "a.mp4", "frames": 75, "lse_d": 7.1234, "offset": -2, "fid": None},
    {"video": "mean", "frames": 75, "lse_d": 7.1234, "offset": -2.0, "fid": 21.725},
]


def test_console_has_columns_meanings_and_what_is_missing() -> None:
    lines = video_score_table(ROWS, PROTOCOL, {"CSIM": "ArcFace (--arcface)"}).splitlines()
    assert lines[:3] == [
        "video  frames  LSE-D ↓  AV offset (frames) → 0  FID ↓",
        "a.mp4      75    7.123                  -2.000      –",
        "mean       75    7.123                  -2.000  21.73",
    ]
    assert "LSE-D: lse/syncnet_v2: least mean distance" in lines
    assert lines[-1] == "CSIM: not computed, needs ArcFace (--arcface)"


def test_spreadsheet(tmp_path: Path) -> None:
    write_csv(tmp_path / "t.csv", ROWS)
    assert (tmp_path / "t.csv").read_text().splitlines() == [
        "video,frames,lse_d,offset,fid",
        "a.mp4,75,7.1234,-2,",
        "mean,75,7.1234,-2.0,21.725",
    ]
