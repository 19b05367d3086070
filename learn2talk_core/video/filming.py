"""Making a 2D corpus person by person, so that a killed run goes on with the next person."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import cv2
import torch
from joblib import delayed
from threadpoolctl import threadpool_limits

from learn2talk_core.run.workers import worker_processes
from learn2talk_core.video.talking_video import EncodedFilm, write_shard

Person = Callable[[], Iterable[EncodedFilm]]  # makes one person's films; can be pickled for more than one worker


def film_people(people: Sequence[Person], folder: Path, workers: int) -> Iterator[Path]:
    """The films of each person as a file in `folder` for `join_shards`; those that are there already are kept.

    Args:
        people: in the order of the corpus.
        folder: what is in it must be from the same people: see `open_scratch`.
        workers: number of processes; 1 is this one.
    """
    shards = [folder / f"person-{number:03d}.parquet" for number in range(len(people))]
    jobs = [delayed(_film)(person, shard) for person, shard in zip(people, shards, strict=True) if not shard.is_file()]
    yield from (shard for shard in shards if shard.is_file())
    yield from worker_processes(workers, threads=1, idle_seconds=10, return_as="generator_unordered")(jobs)


def _film(person: Person, shard: Path) -> Path:
    """One person's films; runs in a worker process."""
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    with threadpool_limits(1):  # the last bit of NumPy's matrix products depends on the number of threads
        write_shard(shard, person())
    return shard
