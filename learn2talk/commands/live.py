"""`learn2talk live`: animate a face from the microphone in the browser, in real time."""

import argparse

from learn2talk.commands.options import (
    Subparsers,
    add_life_options,
    add_page_options,
    add_receiver_options,
    life_of,
    senders_of,
)

EXAMPLES = """examples:
  learn2talk live              the microphone, in the browser
  learn2talk live speech.wav   a file, as if it were spoken now
  learn2talk live --face ada --to-livelink 192.168.1.20:11111
  learn2talk live --blinks 1 --gaze 1 --head 0.5 --look-ahead 1.7
"""


def add(subparsers: Subparsers) -> None:
    parser = subparsers.add_parser(
        "live",
        help="animate a face from the microphone or a file in the browser, in real time",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Serve the live page to this machine only and print its address. Ctrl-C stops it.",
        epilog=EXAMPLES,
    )
    parser.add_argument("paths", nargs="*", metavar="AUDIO", help="sounds that can be played instead of the microphone")
    parser.add_argument("--chunk", type=float, default=0.4, help="seconds encoded at once (default: %(default)s)")
    parser.add_argument(
        "--look-ahead", type=float, default=0.4, help="seconds of sound used after each chunk (default: %(default)s)"
    )
    add_page_options(parser)
    add_life_options(parser)
    add_receiver_options(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    import webbrowser
    from contextlib import ExitStack

    from learn2talk.viewer.app import App
    from learn2talk.viewer.server import serve
    from learn2talk.viewer.sources import sound_clip
    from learn2talk_core.animation.curves import shapes_of
    from learn2talk_core.animation.loading import load_animator

    clips = [sound_clip(path) for path in arguments.paths]
    life = life_of(arguments)
    # Load now: errors appear in the terminal, and the page need not wait for loading.
    animator = load_animator(
        arguments.model, corpus=arguments.corpus, template=arguments.template, head_model=arguments.head_model
    )
    if arguments.template is None:
        animator = animator.pictured()
    animator.stream(style=arguments.style, chunk=arguments.chunk, look_ahead=arguments.look_ahead, life=life)
    with ExitStack() as stack:
        senders = senders_of(arguments, stack)
        if senders:
            shapes_of(animator.stream(style=arguments.style).face)  # without ARKit's shapes there are no curves to send
        app = App(
            clips,
            lambda: animator,
            style=arguments.style,
            chunk=arguments.chunk,
            look_ahead=arguments.look_ahead,
            senders=senders,
            life=life,
        )
        serve(app, port=arguments.port, page="live.html", open_page=webbrowser.open if arguments.open else None)
    return 0
