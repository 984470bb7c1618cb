r"""Products with the Jacobian of a denoiser at one point, :math:`J = \partial D(x, \sigma) / \partial x`, never through J itself.

A product is a batch of copies of the point, pushed through the network once; its graph is kept, and each block of vectors
is one backward pass. Rows :math:`u^\top J` are the ordinary backward pass. For columns :math:`J v` the backward pass itself
is differentiated: :math:`u \mapsto J^\top u` is linear, and its own transpose is J. Where a network has no second
derivative, columns are central differences.

For the ideal denoiser :math:`J = Cov(x_0 \mid x) / \sigma^2`, symmetric and without negative eigenvalues.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from farfield.core.error import FarfieldError, NonFiniteError
from farfield.core.runtime import exact_matmul
from farfield.diffusion.denoiser import Denoiser

BATCH = 32
"""Copies of the point: a processor's cores are busy from about 16 on, and memory grows with each."""


class Jacobian:
    r"""J at one point, a matrix ``[height, dimension]`` that is only ever multiplied, square unless ``of`` says otherwise.

    Args:
        denoiser: frozen or not; only gradients of its input are computed.
        x: the point, ``[*shape]`` or ``[1, *shape]``; products have its dtype, the network its own.
        sigma: the level.
        label: class for a class-conditional network, in place of its own.
        batch: copies of the point, the most vectors of one pass.
        of: what is differentiated in place of D, such as a layer inside: points and level to ``[k, ...]``.

    Attributes:
        value: D(x), or what ``of`` makes of x, ``[height]``.
        calls: images that went through the network so far, forwards or backwards.
        columns_by: how columns are made, ``second derivative`` or ``central differences``; None before the first.

    Raises:
        FarfieldError: a level out of the model's range, a point of another shape, an answer of another shape than the point
            or with no gradient, or a product that is not finite.
    """

    def __init__(
        self,
        denoiser: Denoiser,
        x: Tensor,
        sigma: float,
        *,
        label: int | None = None,
        batch: int = BATCH,
        of: Callable[[Tensor, Tensor], Tensor] | None = None,
    ):
        shape = tuple(denoiser.shape)
        if tuple(x.shape) not in (shape, (1, *shape)):
            raise FarfieldError(f"point of shape {tuple(x.shape)}: expected {shape}, one point of this model")
        if batch < 1:
            raise FarfieldError(f"batch of {batch}: expected at least 1")
        if label is not None and getattr(denoiser, "label", None) is None:
            raise FarfieldError(f"label {label}: {type(denoiser).__name__} knows no classes; leave it out")
        self.denoiser, self.label, self.batch, self.of = denoiser, label, batch, of
        self.sigma = denoiser.schedule.check(float(sigma))
        self.x = x.detach().reshape(shape)
        self.dimension = self.x.numel()
        self.calls = 0
        self.columns_by: str | None = None
        self.value = self.answers(self.x.flatten()[None])[0]
        self.height = len(self.value)
        self._backward: tuple[Tensor, Tensor] | None = None
        self._second: tuple[Tensor, Tensor] | None = None

    def answers(self, points: Tensor) -> Tensor:
        """D at other points ``[k, d]`` of the same level, ``[k, d]``, without any gradient."""
        with torch.no_grad(), exact_matmul():
            parts = [self._evaluate(some.reshape(-1, *self.x.shape)) for some in points.split(self.batch)]
        return torch.cat(parts).flatten(1)

    def rows(self, vectors: Tensor) -> Tensor:
        r""":math:`u_i^\top J` for each row of ``vectors [k, height]``, ``[k, d]``."""

        def product(some: Tensor) -> Tensor:
            if self._backward is None or len(self._backward[0]) != len(some):
                self._backward = self._graph(len(some))
            points, answers = self._backward
            self.calls += len(some)
            return self._grad(answers, points, some)

        return self._blocks(vectors, product, self.height, self.dimension)

    def columns(self, vectors: Tensor) -> Tensor:
        r""":math:`J v_i` for each row of ``vectors [k, d]``, ``[k, height]``."""
        sizes = self.dimension, self.height
        if self.columns_by != "central differences":
            try:
                products = self._blocks(vectors, self._by_second_derivative, *sizes)
                self.columns_by = "second derivative"
                return products
            except RuntimeError as error:
                if isinstance(error, torch.OutOfMemoryError) or self.columns_by is not None:
                    raise
                self._second = None
        self.columns_by = "central differences"
        return self._blocks(vectors, self._by_differences, *sizes)

    def dense(self) -> Tensor:
        """J itself, ``[height, d]``, by all its rows: as many backward passes."""
        return self.rows(torch.eye(self.height, dtype=self.x.dtype, device=self.x.device))

    def _by_second_derivative(self, some: Tensor) -> Tensor:
        if self._second is None or len(self._second[0]) != len(some):
            # The fused attention kernels have no second derivative.
            with sdpa_kernel(SDPBackend.MATH):
                points, answers = self._graph(len(some))
                free = torch.zeros_like(answers, requires_grad=True)
                self._second = free, self._grad(answers, points, free, create_graph=True)
            self.calls += len(some)
        free, linear = self._second
        self.calls += len(some)
        return self._grad(linear, free, some)

    def _by_differences(self, some: Tensor) -> Tensor:
        r""":math:`(D(x + h v) - D(x - h v)) / 2h` at the step whose rounding and truncation balance.

        That is :math:`h |v| = \epsilon^{1/3} |x|`, with the network's :math:`\epsilon`; its error is about
        :math:`\epsilon^{2/3}`.
        """
        own = next(self.denoiser.parameters(), self.x).dtype
        epsilon = max(torch.finfo(own).eps, torch.finfo(self.x.dtype).eps)
        lengths = some.norm(dim=1, keepdim=True).clamp(min=torch.finfo(some.dtype).tiny)
        step = epsilon ** (1 / 3) * max(float(self.x.norm()), self.sigma) / lengths
        moved = step * some
        x = self.x.flatten()
        return (self.answers(x + moved) - self.answers(x - moved)) / (2 * step)

    def _graph(self, batch_size: int) -> tuple[Tensor, Tensor]:
        """Copies of the point and their answers, with the graph between them."""
        points = self.x.expand(batch_size, *self.x.shape).clone().requires_grad_()
        with torch.enable_grad():
            answers = self._evaluate(points)
        if not answers.requires_grad:
            raise FarfieldError(
                f"{type(self.denoiser).__name__}: its answer has no gradient (it is computed without one, or does not depend on "
                "x); a Jacobian needs a model that can be differentiated"
            )
        return points, answers

    def _evaluate(self, points: Tensor) -> Tensor:
        self.calls += len(points)
        if points.ndim == 4 and points.device.type == "cpu":
            points = points.contiguous(memory_format=torch.channels_last)  # convolutions are a tenth faster
        level = torch.tensor(self.sigma, dtype=points.dtype, device=points.device)
        if self.of is not None:
            return self.of(points, level).to(points)
        labels = {} if self.label is None else {"label": torch.full((len(points),), self.label, device=points.device)}
        answers: Tensor = self.denoiser(points, level, **labels)
        if answers.shape != points.shape:
            raise FarfieldError(
                f"the denoiser answers {tuple(answers.shape)} to {tuple(points.shape)}; expected the same shape, its Jacobian "
                "is square"
            )
        return answers

    def _grad(self, of: Tensor, by: Tensor, weights: Tensor, create_graph: bool = False) -> Tensor:
        (grad,) = torch.autograd.grad(of, by, weights.reshape(of.shape), retain_graph=True, create_graph=create_graph)
        return grad if create_graph else grad.flatten(1)

    def _blocks(self, vectors: Tensor, product: Callable[[Tensor], Tensor], wide: int, made: int) -> Tensor:
        """A product in equal blocks of at most a batch; the last one is filled up with zeros."""
        if vectors.ndim != 2 or vectors.shape[1] != wide:
            raise FarfieldError(f"vectors of shape {tuple(vectors.shape)}: expected [k, {wide}]")
        if len(vectors) == 0:
            return self.x.new_zeros(0, made)
        batch_size = math.ceil(len(vectors) / math.ceil(len(vectors) / self.batch))
        products = torch.empty((len(vectors), made), dtype=self.x.dtype, device=self.x.device)
        with exact_matmul():
            for start in range(0, len(vectors), batch_size):
                some = vectors[start : start + batch_size].to(self.x)
                padded = torch.cat([some, some.new_zeros((batch_size - len(some), wide))])
                products[start : start + batch_size] = product(padded)[: len(some)]
        if not bool(torch.isfinite(products).all()):
            raise NonFiniteError(
                f"Jacobian at sigma {self.sigma:g}: a product is not finite; run the model in a wider precision (--dtype)"
            )
        return products
