"""Training speakers of the published datasets, in the order of the style one-hot of FaceFormer's published files."""

VOCASET = tuple(f"FaceTalk_{number}_TA" for number in (
    "170728_03272", "170904_00128", "170725_00137", "170915_00223",
    "170811_03274", "170913_03279", "170904_03276", "170912_03278",
))  # fmt: skip
BIWI = ("F2", "F3", "F4", "M3", "M4", "M5")
