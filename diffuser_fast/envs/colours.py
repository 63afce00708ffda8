"""The colours of maze pictures, the same for matplotlib and Pillow: (red, green, blue), 0 to 255."""

import numpy as np

WALL = (58, 64, 76)
FLOOR = (246, 245, 241)
TARGET = (214, 40, 57)
START = (31, 119, 62)
POINT = (20, 24, 32)
TIME = (
    (43, 62, 152),
    (28, 140, 160),
    (112, 180, 82),
    (238, 170, 44),
    (206, 62, 50),
)  # from now to the horizon


def time_colours(n: int) -> np.ndarray:
    """uint8 [n, 3]: from the first colour of TIME, for now, to its last, for the end."""
    at = np.linspace(0.0, len(TIME) - 1.0, n)
    anchors = np.array(TIME, dtype=np.float64)
    channels = [np.interp(at, np.arange(len(TIME)), anchors[:, c]) for c in range(3)]
    return np.rint(np.stack(channels, axis=1)).astype(np.uint8)
