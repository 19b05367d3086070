"""A model on disk: `model.safetensors` with the weights, `model.json` with what is needed to rebuild the network.

A packaged model (a folder of `weights/`, the output of `learn2talk pack`) also has `learn2talk.json`: its origin, its
scores, and the SHA-256 of its files, which are compared whenever it is loaded. Its matrices may be in half precision;
networks are always float32.
"""

import copy
import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval, fuse_linear_bn_eval
from torch.overrides import TorchFunctionMode

from learn2talk_core.run.errors import BadInput, some_of
from learn2talk_core.run.files import inner_file, read_json, whole_file, write_json

ORIGIN = "learn2talk.json"
MOST_LAYERS = 200  # of one kind, in a network that a file describes
WIDEST = 1 << 20  # the largest number in a description: widths, numbers of vertices and of units
LONGEST = 100_000  # entries of a list in a description: names of speakers, units
RANDOM = frozenset(  # names of the functions that fill weights with random numbers
    ("normal_", "uniform_", "trunc_normal_", "kaiming_normal_", "kaiming_uniform_", "xavier_normal_", "xavier_uniform_")
)
Network = TypeVar("Network", bound=nn.Module)
Shapes = Mapping[str, Sequence[int]]


def save_weights(folder: str | Path, model: nn.Module, config: dict[str, Any]) -> None:
    """Write the weights and the configuration of `model` into `folder`."""
    folder = Path(folder)
    write_tensors(folder / "model.safetensors", model.state_dict())
    write_json(folder / "model.json", config)


def write_tensors(path: str | Path, tensors: Mapping[str, Tensor], metadata: dict[str, str] | None = None) -> None:
    """Write a safetensors file; `metadata` are the texts in its header."""
    plain = {key: value.detach().cpu().contiguous() for key, value in tensors.items()}
    with whole_file(path) as partial:
        partial.write_bytes(save(plain, metadata))  # not save_file: a full disk then raises an ordinary OSError


def halved(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights in half precision (float16), with a relative error of at most 2⁻¹¹ for numbers of at least 6e-5.

    Only matrices and kernels are converted. Vectors (biases, scales, running statistics) take little space and may need
    the range of float32, as do matrices with numbers above 65504.
    """

    def half(value: Tensor) -> Tensor:
        converted = value.half() if value.dtype == torch.float32 and value.ndim > 1 else value
        return converted if bool(torch.isfinite(converted).all()) else value

    return {key: half(value) for key, value in tensors.items()}


def halve_files(folder: str | Path) -> None:
    """Replace every safetensors file in `folder`, at any depth, by one in half precision (`halved`)."""
    for path in sorted(Path(folder).rglob("*.safetensors")):
        with safe_open(path, "pt") as file:
            metadata = file.metadata()
        write_tensors(path, halved(load_file(path)), metadata)


def write_origin(folder: str | Path, about: Mapping[str, Any]) -> None:
    """Make `folder` a packaged model: write `about` and the SHA-256 of all its files to `learn2talk.json`.

    `about["model"]` is its kind, such as `teacher`, or kind and name, such as `lipreader/loss`; `checkpoints.pack`
    describes the other fields and writes the model card.
    """
    folder = Path(folder)
    files = sorted(file for file in folder.rglob("*") if file.is_file() and file != folder / ORIGIN)
    write_json(folder / ORIGIN, {**about, "sha256": {str(file.relative_to(folder)): _sha256(file) for file in files}})


def read_origin(folder: str | Path, kind: str | None = None) -> dict[str, Any] | None:
    """What `write_origin` wrote about a packaged model, or None for any other folder. The files are checked first.

    A part of a packaged model, which is a folder in it, is checked in the same way.

    Args:
        folder: the model.
        kind: what it must be, such as `teacher`; None accepts any.

    Raises:
        BadInput: a file is missing, truncated or changed; or the model is of another kind.
    """
    folder = Path(folder)
    place = next((place for place in (folder, folder.parent) if (place / ORIGIN).is_file()), None)
    if place is None:
        return None
    made_by, fix = "git checkout, or a download", "Restore it from Git or download it again."
    about = read_json(inner_file(place / ORIGIN, made_by=made_by), made_by=made_by)
    sums = about.get("sha256") if isinstance(about, dict) else None
    name = about.get("model") if isinstance(about, dict) else None
    if not isinstance(sums, dict) or not isinstance(name, str):
        raise BadInput(place / ORIGIN, expected="the name of a model and sha256 of its files", found="none", fix=fix)
    if kind is not None and name.split("/")[0] != kind:
        raise BadInput(folder, expected=f"a model of the kind {kind}", found=name, fix="Name another folder.")
    for file in (place / inside for inside in map(str, sums)):
        if file.is_relative_to(folder) and ".." not in file.parts:
            inner_file(file, made_by=made_by)
            if _sha256(file) != sums[str(file.relative_to(place))]:
                found = f"another content of {file.stat().st_size} bytes"
                raise BadInput(file, expected=f"the file that {ORIGIN} describes (sha256)", found=found, fix=fix)
    return about


def load_config(folder: str | Path, *, made_by: str) -> dict[str, Any]:
    """Read the configuration that `save_weights` wrote; `made_by` says how to make the folder if it is missing.

    Its numbers are checked by `check_description`; `load_network` compares them with the weights.
    """
    path = inner_file(Path(folder) / "model.json", made_by=made_by)
    return check_description(read_json(path, made_by=made_by), path, fix=f"Make it again: {made_by}.")


def check_description(about: Any, path: object, *, fix: str) -> dict[str, Any]:
    """Return `about`, read from JSON, if it can describe a network: keys and values, with numbers of a plausible size.

    Raises:
        BadInput: not a dictionary, numbers above 2²⁰, more than 200 layers, a list of more than 200 numbers (such lists
            have one number for each layer) or of more than 100 000 other entries, NaN or infinity.
    """
    if not isinstance(about, dict):
        raise BadInput(path, expected="keys and values", found=f"a {type(about).__name__}", fix=fix)
    todo: list[tuple[str, Any]] = list(about.items())
    while todo:
        key, value = todo.pop()
        most = WIDEST
        if isinstance(value, dict):
            todo += value.items()
        elif isinstance(value, list):
            todo += ((key, item) for item in value)
            numbers = any(isinstance(item, int | float) for item in value)
            value, most = len(value), MOST_LAYERS if numbers else LONGEST
        elif key.endswith("layers"):
            most = MOST_LAYERS
        if isinstance(value, int | float) and not (math.isfinite(value) and abs(value) <= most):
            found = f"{value:.4g}" if isinstance(value, float) else f"more than {most}"
            raise BadInput(f"{path}: {key}", expected=f"a number of at most {most}", found=found, fix=fix)
    return about


class _Unfilled(TorchFunctionMode):
    """Skips the random initialisation of weights, which have no values on the device "meta".

    There `normal_` would import torch's compiler, which takes seconds.
    """

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if getattr(func, "__name__", "") in RANDOM:
            return args[0] if args else kwargs["tensor"]
        return func(*args, **kwargs)


def described(build: Callable[[], Network], path: object, *, expected: str, fix: str) -> Network:
    """The network that `build` makes from the description in `path`, without allocating memory for its weights.

    The state of the random number generator is restored, so this check does not change later random numbers.

    Raises:
        BadInput: `build` fails for any reason.
    """
    try:
        with torch.random.fork_rng(devices=[]), torch.device("meta"), _Unfilled():
            return build()
    except BadInput:
        raise
    except Exception as error:  # each network, and torch, has its own errors for invalid numbers
        found = f"an invalid one ({type(error).__name__}: {str(error)[:200]})"
        raise BadInput(path, expected=expected, found=found, fix=fix) from error


def load_network(
    folder: str | Path, build: Callable[[dict[str, Any]], Network], *, made_by: str
) -> tuple[Network, dict[str, Any]]:
    """The frozen network that `save_weights` wrote, and its configuration.

    Names and shapes of the weights are compared with the network before memory is allocated for it. A packaged model
    must be unchanged (`read_origin`); numbers in half precision become float32.

    Args:
        folder: the folder of the model.
        build: makes the network from the configuration.
        made_by: how to make the folder if it is missing or wrong.
    """
    folder = Path(folder)
    read_origin(folder)
    config = load_config(folder, made_by=made_by)
    fix = f"Make it again: {made_by}."
    skeleton = described(lambda: build(config), folder / "model.json", expected="a description of a network", fix=fix)
    path = inner_file(folder / "model.safetensors", made_by=made_by)
    try:
        shapes = stored_shapes(path)
    except SafetensorError as error:
        raise _broken(path, error, made_by) from error
    _refuse_others(path, shapes, skeleton, made_by)
    network = build(config)
    load_weights(folder, network, made_by=made_by)
    frozen(network)
    return network, config


def stored_shapes(path: Path) -> Shapes:
    """Name → shape of the tensors in a safetensors file; reads only its header."""
    with safe_open(path, "pt") as file:
        return {key: file.get_slice(key).get_shape() for key in file.keys()}  # noqa: SIM118


def load_weights(folder: str | Path, model: nn.Module, *, made_by: str) -> None:
    """Load the weights in `folder` into `model`, strictly: same keys, same shapes."""
    path = inner_file(Path(folder) / "model.safetensors", made_by=made_by)
    try:
        state = load_file(path)
    except SafetensorError as error:
        raise _broken(path, error, made_by) from error
    _refuse_others(path, {key: value.shape for key, value in state.items()}, model, made_by)
    model.load_state_dict(state, strict=True)


def frozen(model: nn.Module) -> nn.Module:
    """Put `model` into evaluation mode and switch off its gradients, permanently."""
    model.eval()
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    return model


def folded(network: Network) -> Network:
    """A copy of a frozen network that computes the same, except for rounding, in less time: every batch norm is folded
    into the convolution or linear map that its module registered just before it, which must be its input. The weights
    have other names and values than in files."""
    network = copy.deepcopy(network)
    for module in list(network.modules()):
        for (name, layer), (after, norm) in pairwise(list(module.named_children())):
            if isinstance(norm, nn.BatchNorm1d | nn.BatchNorm2d | nn.BatchNorm3d):
                fuse: Any = fuse_conv_bn_eval
                if isinstance(layer, nn.Linear):
                    fuse = fuse_linear_bn_eval
                elif isinstance(layer, nn.ConvTranspose2d):
                    fuse = partial(fuse_conv_bn_eval, transpose=True)
                setattr(module, name, fuse(layer, norm))
                setattr(module, after, nn.Identity())
    for module in network.modules():
        if isinstance(module, nn.Conv2d):  # the memory format in which they compute
            module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return network


def parameter_count(model: nn.Module) -> int:
    """Number of parameters of `model`."""
    return sum(p.numel() for p in model.parameters())


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _broken(path: Path, error: SafetensorError, made_by: str) -> BadInput:
    return BadInput(path, expected="a complete safetensors file", found=str(error), fix=f"Delete it and run {made_by}.")


def _refuse_others(path: Path, shapes: Shapes, model: nn.Module, made_by: str) -> None:
    own = {key: tuple(value.shape) for key, value in model.state_dict().items()}
    wrong = {
        "no": [key for key in own if key not in shapes],
        "unexpected": [key for key in shapes if key not in own],
        "another shape of": [key for key in own if key in shapes and tuple(shapes[key]) != own[key]],
    }
    if any(wrong.values()):
        found = "; ".join(f"{what} {some_of(keys)}" for what, keys in wrong.items() if keys)
        raise BadInput(path, expected="the weights of this network", found=found, fix=f"Make it again: {made_by}.")
