"""FaceFormer's decoder, compiled: frame-by-frame prediction without gradient on the CPU.

A frame is about twenty operations on vectors of 64 numbers; in a tensor library the call overhead of each would exceed
its computation. `faceformer.py` has the same in torch, with gradient; the tests compare both with the same references.
"""

import math
from typing import NamedTuple

import numpy as np
from numba import njit

EPS = 1e-5  # default of torch's LayerNorm


class Affine(NamedTuple):
    """x -> weight x + bias; weight (n, m), bias (n,)."""

    weight: np.ndarray
    bias: np.ndarray


class DecoderLayer(NamedTuple):
    """Weights of torch's TransformerDecoderLayer (normalisation after each residual); norms: weight and bias (d,)."""

    attention_in: Affine  # d -> 3d: query, key, value
    attention_out: Affine
    norm1: Affine
    alignment_query: Affine
    alignment_out: Affine
    norm2: Affine
    linear1: Affine
    linear2: Affine
    norm3: Affine


@njit(cache=True, fastmath=True)
def decode(layer, transition, first, constant, bias, key, value):  # type: ignore[no-untyped-def]
    """The states of one clip's roll-out.

    Args:
        layer: weights of the layer; all arrays are float32.
        transition: A (d, d), see `faceformer.py`.
        first: first token with its position (d,).
        constant: added to A h_{t-1} in each phase of the period (period, d).
        bias: attention bias (heads, T) at distances T - 1 ... 0.
        key, value: of the audio (T, r, d), for the r audio states that each frame is aligned with.

    Returns:
        States (T, d).
    """
    frames, rate, width = key.shape
    heads = len(bias)
    part = width // heads
    scale = np.float32(1 / np.sqrt(part))
    # one row per dimension, so that the loops over past frames access memory sequentially
    keys, values = np.empty((2, width, frames), np.float32)
    score = np.empty(frames, np.float32)
    aligned_score = np.empty(rate, np.float32)
    exponent = np.empty(max(frames, rate), np.int32)
    attended = np.empty(width, np.float32)
    states = np.empty((frames, width), np.float32)
    token = first
    for t in range(frames):
        projected = _affine(layer.attention_in, token)
        keys[:, t] = projected[width : 2 * width]
        values[:, t] = projected[2 * width :]
        now = score[: t + 1]
        for head in range(heads):
            now[:] = bias[head, frames - 1 - t :]
            for c in range(head * part, (head + 1) * part):
                query = projected[c] * scale
                for j in range(t + 1):
                    now[j] += query * keys[c, j]
            _softmax(now, exponent[: t + 1])
            for c in range(head * part, (head + 1) * part):
                total = np.float32(0)
                for j in range(t + 1):
                    total += now[j] * values[c, j]
                attended[c] = total
        x = _norm(layer.norm1, token + _affine(layer.attention_out, attended))

        attended[:] = value[t, 0]  # with one audio state per frame the softmax is 1
        if rate > 1:
            query = _affine(layer.alignment_query, x) * scale
            attended[:] = 0
            for head in range(heads):
                dims = slice(head * part, (head + 1) * part)
                for r in range(rate):
                    aligned_score[r] = (query[dims] * key[t, r, dims]).sum()
                _softmax(aligned_score, exponent[:rate])
                for r in range(rate):
                    attended[dims] += aligned_score[r] * value[t, r, dims]
        x = _norm(layer.norm2, x + _affine(layer.alignment_out, attended))

        inner = np.maximum(_affine(layer.linear1, x), np.float32(0))
        states[t] = _norm(layer.norm3, x + _affine(layer.linear2, inner))
        token = constant[(t + 1) % len(constant)] + _times(transition, states[t])
    return states


@njit(cache=True, fastmath=True)
def _times(weight, x):  # type: ignore[no-untyped-def]
    out = np.empty(len(weight), np.float32)
    for i in range(len(weight)):
        total = np.float32(0)
        for j in range(len(x)):
            total += weight[i, j] * x[j]
        out[i] = total
    return out


@njit(cache=True, fastmath=True)
def _affine(map_, x):  # type: ignore[no-untyped-def]
    return _times(map_.weight, x) + map_.bias


@njit(cache=True, fastmath=True)
def _norm(norm, x):  # type: ignore[no-untyped-def]
    centred = x - np.float32(x.mean())
    variance = (centred * centred).mean()
    return centred * np.float32(1 / np.sqrt(variance + EPS)) * norm.weight + norm.bias


@njit(cache=True, fastmath=True)
def _softmax(score, exponent):  # type: ignore[no-untyped-def]
    """In place. `exponent` (len(score),) int32 is scratch space.

    exp(x) = 2^n 2^f with n the integer nearest to x / log 2: n is written to the exponent bits, and 2^f for f in ±1/2
    is a polynomial (Cephes' exp2f, relative error 2e-7). Unlike the scalar exp of the library, this vectorises to eight
    numbers at a time.
    """
    power = exponent.view(np.float32)
    top = score.max()
    for j in range(len(score)):
        x = max((score[j] - top) * np.float32(1 / math.log(2)), np.float32(-126))
        n = np.floor(x + np.float32(0.5))
        f = x - n
        exponent[j] = (np.int32(n) + np.int32(127)) << np.int32(23)
        p = np.float32(1.535336188319500e-4)
        p = p * f + np.float32(1.339887440266574e-3)
        p = p * f + np.float32(9.618437357674640e-3)
        p = p * f + np.float32(5.550332471162809e-2)
        p = p * f + np.float32(2.402264791363012e-1)
        p = p * f + np.float32(6.931472028550421e-1)
        score[j] = p * f + np.float32(1)
    total = np.float32(0)
    for j in range(len(score)):
        score[j] *= power[j]
        total += score[j]
    score *= np.float32(1) / total
