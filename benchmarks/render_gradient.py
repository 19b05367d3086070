"""Is the sign of the renderer's gradient right? For the image L2 between two random articulations of one mouth.

python -m benchmarks.render_gradient [--pairs 200]

For each pair, the derivative of the squared image difference with respect to the weight of each face unit is compared
with central differences (steps of 0.02 of the unit, 0.8 mm for the jaw), which include changes of visibility. Target:
with antialiasing, the sign of the jaw's derivative is right in at least 90 % of the pairs.
"""

import argparse

import numpy as np
import torch
from torch import Tensor

from learn2talk_core.datasets.embedded.face import load_face
from learn2talk_core.render.mouth import MouthView, mouth_view
from learn2talk_core.render.render import render

# unit → the largest random weight, about the range used in speech
UNITS = {
    "jawOpen": 0.35,
    "mouthPucker": 0.6,
    "mouthFunnel": 0.4,
    "mouthClose": 0.1,
    "mouthStretch": 0.5,
    "mouthLowerDown": 0.5,
    "mouthUpperUp": 0.5,
}
STEP = 0.02


def main(pairs: int) -> None:
    torch.set_num_threads(1)
    face = load_face()
    view = mouth_view(face.topology, face.neutral, mm_per_unit=1000)
    template = torch.from_numpy(face.neutral[view.vertex_ids])
    units = torch.stack([torch.from_numpy(unit(name)[view.vertex_ids]) for name in UNITS])
    draw = torch.Generator().manual_seed(0)
    ranges = torch.tensor(list(UNITS.values()))

    for smooth in (False, True):
        analytic, numeric = [], []
        for _ in range(pairs):
            weights, goal = torch.rand(2, len(UNITS), generator=draw) * ranges
            target = picture(view, template, units, goal[None], smooth)
            variable = weights[None].clone().requires_grad_()
            (gradient,) = torch.autograd.grad(
                loss(picture(view, template, units, variable, smooth), target)[0], variable
            )
            steps = torch.cat([weights + STEP * torch.eye(len(UNITS)), weights - STEP * torch.eye(len(UNITS))])
            up, down = loss(picture(view, template, units, steps, smooth), target).chunk(2)
            analytic.append(gradient[0].numpy())
            numeric.append(((up - down) / (2 * STEP)).numpy())
        a, n = np.array(analytic), np.array(numeric)
        print(
            f"{'antialiased' if smooth else 'hard visibility'}, {pairs} pairs: sign right, correlation with differences"
        )
        for k, name in enumerate(UNITS):
            right, correlation = (np.sign(a[:, k]) == np.sign(n[:, k])).mean(), np.corrcoef(a[:, k], n[:, k])[0, 1]
            print(f"  {name:15s} {right:5.0%}  {correlation:5.2f}")


def unit(name: str) -> np.ndarray:
    """A face unit; the sum of left and right if it has two sides."""
    units = load_face().unit
    return units[name] if name in units else units[f"{name}Left"] + units[f"{name}Right"]


def picture(view: MouthView, template: Tensor, units: Tensor, weights: Tensor, smooth: bool) -> Tensor:
    vertices = template + torch.einsum("nk,kvc->nvc", weights, units)
    return render(vertices, view.faces, view.colours, view.camera, view.size, view.size, smooth=smooth)


def loss(image: Tensor, target: Tensor) -> Tensor:
    return (image - target).square().sum(dim=(1, 2, 3))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=200)
    main(parser.parse_args().pairs)
