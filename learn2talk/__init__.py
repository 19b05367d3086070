"""Speech in, a lip-synchronised 3D talking face out.

    import learn2talk

    animation = learn2talk.animate("speech.wav")
    learn2talk.export(animation, "out", ["mp4", "glb"])
    print(learn2talk.score(animation).mouth_late_ms)

`learn2talk.api` documents the arguments of each function; docs/tour.md shows them all in use.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from learn2talk.api import BadInput, Life, animate, export, load, score, stream

__all__ = ["BadInput", "Life", "animate", "export", "load", "score", "stream"]


def __getattr__(name: str) -> Any:
    """Import the library on first use (PEP 562): that takes seconds, importing this module does not."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from learn2talk import api

    return getattr(api, name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
