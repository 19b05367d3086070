"""FaceFormer's roll-out with gradient, compiled: training on the CPU.

Autograd through the roll-out is some forty operations a frame on vectors of 64 numbers, and as many on the way back;
their calls take longer than the computation. Here one kernel runs through the frames of a clip and another one back.
The second gives the gradients of what each map returns; those of the maps' weights are products over all frames.
"""

from typing import Any, NamedTuple

import numba
import numpy as np
import torch
from torch import Tensor

from learn2talk_core.models.students.faceformer.compiled import EPS, Affine, _affine, _softmax, _times
from learn2talk_core.run.over_frames import over_frames

fast = numba.njit(nogil=True, cache=True, fastmath=True)  # the order of a sum is free, so that it vectorises


class Layer(NamedTuple):
    """Weights of the decoder layer, all float32; the alignment with the sound is already computed."""

    attention_in: Affine  # d -> 3d: query, key, value
    attention_out: Affine
    norm1: Affine
    norm2: Affine
    linear1: Affine
    linear2: Affine
    norm3: Affine


class RollOutTrace(NamedTuple):
    """What the way back needs of the way there; (B, T, …) with T frames, d the width, H heads."""

    token: np.ndarray  # (B, T, d)
    projected: np.ndarray  # (B, T, 3d) query, key, value
    weight: np.ndarray  # (B, H, T, T) attention
    attended: np.ndarray  # (B, T, d)
    normal1: np.ndarray  # (B, T, d) standardised input of each norm, before its weight and bias
    normal2: np.ndarray
    normal3: np.ndarray
    scale: np.ndarray  # (B, T, 3) 1 / deviation of the inputs of the norms
    inner: np.ndarray  # (B, T, h) after the ReLU


class RollOutGradient(NamedTuple):
    """Gradients of what each map returns, (B, T, …)."""

    token: np.ndarray  # (B, T, d)
    projected: np.ndarray  # (B, T, 3d)
    sum1: np.ndarray  # (B, T, d) of the input of each norm
    sum2: np.ndarray
    sum3: np.ndarray
    norm1: np.ndarray  # (B, T, d) of the output of each norm
    norm2: np.ndarray
    norm3: np.ndarray
    inner: np.ndarray  # (B, T, h) of the input of the ReLU


def trained_states(
    first: Tensor, constant: Tensor, transition: Tensor, aligned: Tensor, bias: Tensor, *layer: Tensor
) -> Tensor:
    """The states (B, T, d) of the roll-out, with gradient of every argument but `bias`.

    Args:
        first: first token with its position (B, d).
        constant: added to A h_{t-1} in each phase of the period (B, period, d).
        transition: A (d, d).
        aligned: what the alignment adds at each frame (B, T, d).
        bias: attention bias (heads, T) at distances T - 1 ... 0.
        layer: weight and bias of each map of `Layer`, in its order.
    """
    states: Tensor = _RollOut.apply(first, constant, transition, aligned, bias, *layer)
    return states


class _RollOut(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, *arguments: Tensor) -> Tensor:
        first, constant, transition, aligned, bias, *layer = (_array(x) for x in arguments)
        batch, frames, width = aligned.shape
        hidden, heads = len(layer[8]), len(bias)
        vectors = [(width,), (3 * width,), (width,), (width,), (width,), (width,), (3,), (hidden,)]
        arrays = [_empty(batch, frames, *shape) for shape in vectors]
        arrays.insert(2, _empty(batch, heads, frames, frames))
        trace = RollOutTrace(*arrays)
        states = _empty(batch, frames, width)
        over_frames(_forward, batch, _layer(layer), transition, first, constant, aligned, bias, trace, states)
        ctx.arrays = transition, layer, trace, states, constant.shape
        return torch.from_numpy(states)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, of_states: Tensor) -> tuple[Tensor | None, ...]:
        transition, layer, trace, states, (batch, period, width) = ctx.arrays
        frames, hidden, heads = states.shape[1], trace.inner.shape[2], trace.weight.shape[1]
        vectors = [(width,), (3 * width,), *[(width,)] * 6, (hidden,)]
        of = RollOutGradient(*(_empty(batch, frames, *shape) for shape in vectors))
        backwards = Layer(*(Affine(np.ascontiguousarray(map_.weight.T), map_.bias) for map_ in _layer(layer)))
        over_frames(
            _backward, batch, backwards, np.ascontiguousarray(transition.T), _array(of_states), trace, of, heads
        )

        of_constant = np.zeros((batch, period, width), np.float32)
        for phase in range(min(period, frames)):
            start = phase or period  # frame 0 has `first` instead
            of_constant[:, phase] = of.token[:, start::period].sum(1)
        gradients = [of.token[:, 0], of_constant, _product(of.token[:, 1:], states[:, :-1]), of.sum2, None]
        gradients += [_product(of.projected, trace.token), of.projected.sum((0, 1))]
        gradients += [_product(of.sum1, trace.attended), of.sum1.sum((0, 1))]
        gradients += [(of.norm1 * trace.normal1).sum((0, 1)), of.norm1.sum((0, 1))]
        gradients += [(of.norm2 * trace.normal2).sum((0, 1)), of.norm2.sum((0, 1))]
        gradients += [_product(of.inner, trace.normal2 * layer[6] + layer[7]), of.inner.sum((0, 1))]
        gradients += [_product(of.sum3, trace.inner), of.sum3.sum((0, 1))]
        gradients += [(of.norm3 * trace.normal3).sum((0, 1)), of.norm3.sum((0, 1))]
        return tuple(None if g is None else torch.from_numpy(g) for g in gradients)


def _array(x: Tensor) -> np.ndarray:
    return x.detach().contiguous().numpy()


def _empty(*shape: int) -> np.ndarray:
    return np.empty(shape, np.float32)


def _layer(arrays: list[np.ndarray]) -> Layer:
    return Layer(*(Affine(arrays[i], arrays[i + 1]) for i in range(0, len(arrays), 2)))


def _product(of_output: np.ndarray, given: np.ndarray) -> np.ndarray:
    """The gradient of a matrix, from the gradients of what it returned (B, T, n) for what it was given (B, T, m)."""
    return of_output.reshape(-1, of_output.shape[-1]).T @ given.reshape(-1, given.shape[-1])


@fast
def _forward(begin, end, layer, transition, first, constant, aligned, bias, trace, states):  # type: ignore[no-untyped-def]
    """`compiled.decode` for the clips begin … end - 1, which also fills `trace`."""
    _, frames, width = aligned.shape
    heads = len(bias)
    part = width // heads
    scale = np.float32(1 / np.sqrt(part))
    exponent = np.empty(frames, np.int32)
    # one row per dimension, so that the loops over past frames access memory sequentially
    keys, values = np.empty((2, width, frames), np.float32)
    for i in range(begin, end):
        token = first[i]
        for t in range(frames):
            projected = _affine(layer.attention_in, token)
            keys[:, t] = projected[width : 2 * width]
            values[:, t] = projected[2 * width :]
            attended = trace.attended[i, t]
            for head in range(heads):
                now = trace.weight[i, head, t, : t + 1]
                now[:] = bias[head, frames - 1 - t :]
                for c in range(head * part, (head + 1) * part):
                    _add(now, projected[c] * scale, keys[c, : t + 1])
                _softmax(now, exponent[: t + 1])
                for c in range(head * part, (head + 1) * part):
                    attended[c] = _dot(now, values[c, : t + 1])
            x = _standardised(token + _affine(layer.attention_out, attended), trace.normal1[i, t], trace.scale[i, t], 0)
            x = x * layer.norm1.weight + layer.norm1.bias
            x = _standardised(x + aligned[i, t], trace.normal2[i, t], trace.scale[i, t], 1)
            x = x * layer.norm2.weight + layer.norm2.bias
            inner = np.maximum(_affine(layer.linear1, x), np.float32(0))
            x = _standardised(x + _affine(layer.linear2, inner), trace.normal3[i, t], trace.scale[i, t], 2)
            states[i, t] = x * layer.norm3.weight + layer.norm3.bias
            trace.token[i, t], trace.projected[i, t], trace.inner[i, t] = token, projected, inner
            token = constant[i, (t + 1) % constant.shape[1]] + _times(transition, states[i, t])


@fast
def _backward(begin, end, layer, transition, of_states, trace, of, heads):  # type: ignore[no-untyped-def]
    """Fill `of` for the clips begin … end - 1. The matrices of `layer`, and `transition`, are transposed."""
    _, frames, width = of_states.shape
    part = width // heads
    scale = np.float32(1 / np.sqrt(part))
    keys, values = np.empty((2, width, frames), np.float32)
    of_score = np.empty(frames, np.float32)
    for i in range(begin, end):
        for c in range(width):
            keys[c] = trace.projected[i, :, width + c]
            values[c] = trace.projected[i, :, 2 * width + c]
        of_keys, of_values = np.zeros((2, width, frames), np.float32)
        for t in range(frames - 1, -1, -1):
            of.norm3[i, t] = of_states[i, t]
            if t + 1 < frames:
                of.norm3[i, t] += _times(transition, of.token[i, t + 1])
            scales = trace.scale[i, t]
            of.sum3[i, t] = _norm_back(of.norm3[i, t] * layer.norm3.weight, trace.normal3[i, t], scales[2])
            of_inner = _times(layer.linear2.weight, of.sum3[i, t])
            for c in range(len(of_inner)):
                of.inner[i, t, c] = of_inner[c] if trace.inner[i, t, c] > 0 else np.float32(0)
            of.norm2[i, t] = of.sum3[i, t] + _times(layer.linear1.weight, of.inner[i, t])
            of.sum2[i, t] = _norm_back(of.norm2[i, t] * layer.norm2.weight, trace.normal2[i, t], scales[1])
            of.norm1[i, t] = of.sum2[i, t]
            of.sum1[i, t] = _norm_back(of.norm1[i, t] * layer.norm1.weight, trace.normal1[i, t], scales[0])
            of_attended = _times(layer.attention_out.weight, of.sum1[i, t])
            now = of_score[: t + 1]
            for head in range(heads):
                weight = trace.weight[i, head, t, : t + 1]
                now[:] = 0
                for c in range(head * part, (head + 1) * part):
                    _add(now, of_attended[c], values[c, : t + 1])
                    _add(of_values[c, : t + 1], of_attended[c], weight)
                mean = _dot(now, weight)
                for j in range(t + 1):
                    now[j] = weight[j] * (now[j] - mean)
                for c in range(head * part, (head + 1) * part):
                    of.projected[i, t, c] = scale * _dot(now, keys[c, : t + 1])
                    _add(of_keys[c, : t + 1], scale * trace.projected[i, t, c], now)
            of.projected[i, t, width : 2 * width] = of_keys[:, t]
            of.projected[i, t, 2 * width :] = of_values[:, t]
            of.token[i, t] = of.sum1[i, t] + _times(layer.attention_in.weight, of.projected[i, t])


@fast
def _standardised(x, normal, scales, place):  # type: ignore[no-untyped-def]
    """x (d,) with mean 0 and deviation 1, written to `normal`; the factor goes to scales[place]."""
    centred = x - np.float32(x.mean())
    scales[place] = np.float32(1 / np.sqrt((centred * centred).mean() + EPS))
    normal[:] = centred * scales[place]
    return normal


@fast
def _norm_back(of_normal, normal, scale):  # type: ignore[no-untyped-def]
    """The gradient of a norm's input, from that of its standardised input."""
    of_mean = np.float32(of_normal.mean())
    of_scale = np.float32((of_normal * normal).mean())
    return (of_normal - of_mean - normal * of_scale) * scale


@fast
def _add(total, factor, x):  # type: ignore[no-untyped-def]
    """total += factor x, in place."""
    for j in range(len(x)):
        total[j] += factor * x[j]


@fast
def _dot(x, y):  # type: ignore[no-untyped-def]
    total = np.float32(0)
    for j in range(len(x)):
        total += x[j] * y[j]
    return total
