"""The background of pictures, if nothing else is asked for."""

BACKGROUND = (0.92, 0.93, 0.95)  # RGB in 0..1
