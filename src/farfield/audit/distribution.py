"""How far apart two sets of feature vectors are as laws: Fréchet and kernel distance, precision, recall, and the like.

Every function takes ``real=`` and ``generated=`` by keyword, so that the two cannot be swapped unseen; each is a set of
vectors ``[n, d]``, as a tensor or as `Features`. All arithmetic is float64. Each `Score` carries a 95 % interval; what
it covers, and why it is made the way it is, stands with each function.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Final

import torch
from torch import Tensor

from farfield.core.artifact import Features, Score
from farfield.core.error import FarfieldError, NonFiniteError
from farfield.core.runtime import generator

Z95: Final = 1.959963984540054  # the normal law's 97.5 % quantile
BLOCK: Final = 1 << 21  # entries of a distance or kernel matrix that are held at once: 16 MB
LARGE: Final = 2000  # "halves" of sets above twice this are this many points: the spread of n follows by scaling

Pair = Callable[[Tensor, Tensor, int], tuple[float, float]]
SAME: Final = 1e-13  # squared distances this far below the vectors' squared length are rounding


def frechet_distance(
    *,
    real: Features | Tensor,
    generated: Features | Tensor,
    extrapolate: bool = False,
    halves: int = 100,
    seed: int = 0,
) -> Score:
    r"""The Fréchet distance of two Gaussians fitted to the features (FID, when they are Inception's).

    .. math:: |\mu_1 - \mu_2|^2 + \mathrm{tr} S_1 + \mathrm{tr} S_2 - 2 \mathrm{tr} (S_1^{1/2} S_2 S_1^{1/2})^{1/2}

    (Dowson and Landau 1982; Heusel et al. 2017, arXiv 1706.08500). With :math:`S = R^T R` the last trace is the sum of
    the singular values of :math:`R_1 R_2^T`: real and non-negative whatever the rank, without the square root of
    rounding errors that a matrix square root takes.

    **It is biased upwards**, by about B/n: compare values at equal n only, or set ``extrapolate``, which takes that
    term away, :math:`2 T_n - \langle T_{n/2} \rangle` (two points of the line that Chong and Forsyth 2020, arXiv
    1911.07023, draw through many). With n ≤ d the covariances are singular: the value is still defined, but its bias is
    large and no longer ~1/n, and the extrapolation stops short; then it compares sets of this size, not laws.

    The interval comes from random halves of both sets, drawn without replacement: the spread of :math:`T_{n/2}` given
    the data is that of :math:`T_n` itself. A bootstrap would repeat points, which biases it like a smaller set and once
    more. It is placed around the returned value: it covers the mean of :math:`T_n` over new sets of this size, and with
    ``extrapolate`` the distance of the two laws. For equal laws it is wider than it need be.

    Args:
        real: ``[n, d]``.
        generated: ``[m, d]``.
        extrapolate: return the value extrapolated to infinitely many samples; it may fall a little below 0.
        halves: how many random halves; 0 leaves the interval out.
        seed: of the halves.

    Returns:
        Score in squared units of the features; ``n`` is the smaller set's size.

    Raises:
        FarfieldError: fewer than 4 vectors in a set, or sets that cannot be compared.
    """
    x, y = _comparable(real, generated, least=4)
    value = _frechet(x, y)
    n = min(len(x), len(y))
    if not halves:
        if extrapolate:
            raise FarfieldError("halves=0: the extrapolation needs random halves; give at least 20")
        return Score(value, n)
    g = generator(seed, "halves")
    drawn = [_frechet(_draw(x, len(x) // 2, g), _draw(y, len(y) // 2, g)) for _ in range(halves)]
    spread = torch.tensor(drawn, dtype=torch.float64)
    mean = float(spread.mean())
    low, high = (float(q) - mean for q in spread.quantile(torch.tensor([0.025, 0.975], dtype=torch.float64)))
    if extrapolate:
        value = 2 * value - mean
        return Score(value, n, value - high, value - low)
    return Score(value, n, max(value - high, 0.0), value - low)


def kernel_distance(*, real: Features | Tensor, generated: Features | Tensor) -> Score:
    r"""The squared maximum mean discrepancy under the kernel :math:`k(x, y) = (x \cdot y / d + 1)^3` (KID).

    The unbiased two-sample U-statistic over all pairs,

    .. math:: \frac{\sum_{i \ne j} k(x_i, x_j)}{n(n-1)} + \frac{\sum_{i \ne j} k(y_i, y_j)}{m(m-1)}
              - \frac{2 \sum_{ij} k(x_i, y_j)}{nm}

    (Gretton et al. 2012; Bińkowski et al. 2018, arXiv 1801.01401). Its mean is the population's value at every n, 0 for
    equal laws, so it may be negative. For centred Gaussians it is :math:`3 |C_1 - C_2|_F^2 / d^2`.

    The interval is the jackknife's: value ± 1.96 times the square root of the two sets' delete-one variances, which the
    kernel's row sums give without a second pass. It covers the population's value; for equal laws, where the statistic
    degenerates, the jackknife's variance is twice the true one and the interval is wider than it need be. The bootstrap
    would need care with points drawn twice (k(x, x) among the pairs) and is wider still there.

    Args:
        real: ``[n, d]``.
        generated: ``[m, d]``.

    Returns:
        Score without unit; ``n`` is the smaller set's size. Memory does not grow with n².

    Raises:
        FarfieldError: fewer than 3 vectors in a set, or sets that cannot be compared.
    """
    x, y = _comparable(real, generated, least=3)
    n, m = len(x), len(y)
    within_x, within_y = _kernel_rows(x, x, same=True), _kernel_rows(y, y, same=True)
    across_x, across_y = _kernel_rows(x, y), _kernel_rows(y, x)
    xx, yy, xy = within_x.sum(), within_y.sum(), across_x.sum()
    value = float(xx / (n * (n - 1)) + yy / (m * (m - 1)) - 2 * xy / (n * m))
    # The statistic without point i, up to a constant.
    without_x = (xx - 2 * within_x) / ((n - 1) * (n - 2)) - 2 * (xy - across_x) / ((n - 1) * m)
    without_y = (yy - 2 * within_y) / ((m - 1) * (m - 2)) - 2 * (xy - across_y) / (n * (m - 1))
    variance = float(without_x.var(correction=0) * (n - 1) + without_y.var(correction=0) * (m - 1))
    half_width = Z95 * math.sqrt(variance)
    return Score(value, min(n, m), value - half_width, value + half_width)


def precision_recall(
    *, real: Features | Tensor, generated: Features | Tensor, k: int = 3, halves: int = 30, seed: int = 0
) -> tuple[Score, Score]:
    """The share of generated vectors inside the real manifold (precision), and the reverse (recall).

    A set's manifold is the union of balls around its points, each as wide as the distance to the point's k-th nearest
    neighbour in the same set (Kynkäänniemi et al. 2019, arXiv 1904.06991). The edge counts as inside. Both shares
    depend on n and m: compare at equal sizes only, and next to the score of held-out real against real.

    The intervals are Wilson's, for as many independent trials as would vary like the share does over random halves of
    both sets (never more trials than vectors). Trials given the other set's manifold alone would leave out the chance
    in that manifold: such intervals cover the mean in as little as two cases of three.

    Args:
        real: ``[n, d]``.
        generated: ``[m, d]``.
        k: which neighbour sets the radius.
        halves: how many random halves; with 0, or sets too small to halve, the interval is that of given manifolds.
        seed: of the halves.

    Returns:
        ``(precision, recall)``; their ``n`` are m and n.

    Raises:
        FarfieldError: k < 1, no more than k vectors in a set, or sets that cannot be compared.
    """
    x, y = _neighbourly(real, generated, k)
    precision, recall = _precision_recall(x, y, k)
    spread = _variances(_precision_recall, x, y, k, halves, seed)
    return _share(precision, len(y), spread[0]), _share(recall, len(x), spread[1])


def density_coverage(
    *, real: Features | Tensor, generated: Features | Tensor, k: int = 5, halves: int = 30, seed: int = 0
) -> tuple[Score, Score]:
    """How many real balls hold a generated vector (density), and the share of real balls that hold one (coverage).

    Balls as in `precision_recall`, around real points only, which spares them the generated outliers (Naeem et al.
    2020, arXiv 2002.09797): density is the number of balls around a generated vector divided by k, averaged. For equal
    laws its mean is 1; above 1 generated vectors crowd in dense places. For equal laws the mean coverage is
    ``1 - (n-1)…(n-k) / ((n+m-1)…(n+m-k))``, about 1 − 2^−k for n = m.

    Intervals from random halves of both sets, as in `precision_recall`: normal for density, Wilson's for coverage.

    Args:
        real: ``[n, d]``.
        generated: ``[m, d]``.
        k: which neighbour sets the radius.
        halves: how many random halves; with 0, or sets too small to halve, density has no interval, and
            coverage that of given real balls.
        seed: of the halves.

    Returns:
        ``(density, coverage)``; their ``n`` are m and n.

    Raises:
        FarfieldError: k < 1, no more than k vectors in a set, or sets that cannot be compared.
    """
    x, y = _neighbourly(real, generated, k)
    density, coverage = _density_coverage(x, y, k)
    spread = _variances(_density_coverage, x, y, k, halves, seed)
    half_width = Z95 * math.sqrt(spread[0])
    bounds = (max(density - half_width, 0.0), density + half_width) if half_width > 0 else (None, None)
    return Score(density, len(y), *bounds), _share(coverage, len(x), spread[1])


def proportion(hits: int, n: int) -> Score:
    """``hits / n`` with Wilson's 95 % score interval (Wilson 1927): honest for small n and at 0 and 1.

    Raises:
        FarfieldError: not 0 ≤ hits ≤ n, or n = 0.
    """
    if not 0 <= hits <= n or n == 0:
        raise FarfieldError(f"{hits} of {n}: expected a share of at least one trial; give a set that is not empty")
    return Score(hits / n, n, *_wilson(hits / n, n))


def rows(features: Features | Tensor, name: str = "features") -> Tensor:
    """The vectors ``[n, d]`` in float64.

    Raises:
        FarfieldError: not a matrix with at least one row and column.
        NonFiniteError: NaN or infinity among them.
    """
    values = features.values if isinstance(features, Features) else features
    if values.ndim != 2 or 0 in values.shape:
        raise FarfieldError(f"{name}: expected vectors [n, d], found shape {list(values.shape)}; describe images first")
    values = values.detach().double()
    if not bool(values.isfinite().all()):
        raise NonFiniteError(f"{name}: expected finite vectors, found NaN or infinity; look for broken images")
    return values


def check_same_descriptor(first: Features | Tensor, second: Features | Tensor) -> None:
    """Features of different descriptors, or of different lengths, are never compared.

    Raises:
        FarfieldError: they differ.
    """
    if isinstance(first, Features) and isinstance(second, Features) and first.descriptor != second.descriptor:
        raise FarfieldError(
            f"features of {first.descriptor!r} and of {second.descriptor!r}: expected one descriptor for both; "
            "describe both sets with the same one"
        )
    a, b = (v.values if isinstance(v, Features) else v for v in (first, second))
    if a.shape[1:] != b.shape[1:]:
        raise FarfieldError(
            f"features of {list(a.shape)} and {list(b.shape)}: expected vectors of one length; "
            "describe both sets with the same descriptor"
        )


def _comparable(real: Features | Tensor, generated: Features | Tensor, least: int) -> tuple[Tensor, Tensor]:
    check_same_descriptor(real, generated)
    x, y = rows(real, "real"), rows(generated, "generated")
    for name, values in (("real", x), ("generated", y)):
        if len(values) < least:
            raise FarfieldError(f"{name}: expected at least {least} vectors, found {len(values)}; give more images")
    return x, y


def _neighbourly(real: Features | Tensor, generated: Features | Tensor, k: int) -> tuple[Tensor, Tensor]:
    if k < 1:
        raise FarfieldError(f"k = {k}: expected a neighbour's number of at least 1; the papers take 3 and 5")
    x, y = _comparable(real, generated, least=max(k + 1, 2))
    centre = x.mean(0)  # near the origin the squared distances lose least to rounding
    return x - centre, y - centre


def _frechet(x: Tensor, y: Tensor) -> float:
    a, b = _root(x), _root(y)
    overlap = torch.linalg.svdvals(a @ b.T).sum()
    shift = (x.mean(0) - y.mean(0)).square().sum()
    return max(float(shift + a.square().sum() + b.square().sum() - 2 * overlap), 0.0)


def _root(x: Tensor) -> Tensor:
    """Some R with ``R^T R`` the covariance of the rows: the rows themselves, or with n > d their triangle."""
    centred = (x - x.mean(0)) / math.sqrt(len(x) - 1)
    return torch.linalg.qr(centred, mode="r").R if len(x) > x.shape[1] else centred


def _draw(x: Tensor, size: int, g: torch.Generator) -> Tensor:
    return x[torch.randperm(len(x), generator=g)[:size].to(x.device)]


def _blocks(n: int, width: int) -> Iterator[slice]:
    size = max(1, BLOCK // width)
    return (slice(i, min(i + size, n)) for i in range(0, n, size))


def _kernel_rows(x: Tensor, y: Tensor, same: bool = False) -> Tensor:
    """The kernel matrix summed over ``y``, ``[len(x)]``; without its diagonal when both are the ``same`` set."""
    d = x.shape[1]
    sums = torch.cat([(x[block] @ y.T / d + 1).pow(3).sum(1) for block in _blocks(len(x), len(y))])
    return sums - (x.square().sum(1) / d + 1).pow(3) if same else sums


def _precision_recall(x: Tensor, y: Tensor, k: int) -> tuple[float, float]:
    precision = _balls_around(y, x, _radii(x, k)) > 0
    recall = _balls_around(x, y, _radii(y, k)) > 0
    return float(precision.double().mean()), float(recall.double().mean())


def _density_coverage(x: Tensor, y: Tensor, k: int) -> tuple[float, float]:
    radii = _radii(x, k)
    counts, covered = _balls_around(y, x, radii), _nearest(x, y) <= radii
    return float(counts.double().mean() / k), float(covered.double().mean())


def _variances(statistic: Pair, x: Tensor, y: Tensor, k: int, halves: int, seed: int) -> tuple[float, float]:
    """The variances of a pair of statistics of ``(x, y)``; zeros where the sets are too small to tell.

    Drawn without replacement, a share f of the points varies, given the data, by (1 - f) / f of what all of them vary
    by (Politis and Romano 1994).
    """
    share = min(0.5, LARGE / max(len(x), len(y)))
    sizes = int(share * len(x)), int(share * len(y))
    if halves < 2 or min(sizes) <= k:
        return 0.0, 0.0
    g = generator(seed, "halves")
    drawn = [statistic(_draw(x, sizes[0], g), _draw(y, sizes[1], g), k) for _ in range(halves)]
    first, second = (torch.tensor(drawn, dtype=torch.float64).var(0) * share / (1 - share)).tolist()
    return first, second


def _share(p: float, trials: int, variance: float) -> Score:
    """A share with Wilson's interval for as many independent trials as give it this variance."""
    independent = min(float(trials), p * (1 - p) / variance) if variance > 0 else float(trials)
    return Score(p, trials, *_wilson(p, independent or trials))  # at 0 and 1 the spread tells nothing


def _wilson(p: float, n: float) -> tuple[float, float]:
    z = Z95**2 / n
    centre = (p + z / 2) / (1 + z)
    half_width = math.sqrt(p * (1 - p) * z + z**2 / 4) / (1 + z)
    return min(max(centre - half_width, 0.0), p), max(min(centre + half_width, 1.0), p)


def _squared_distances(x: Tensor, y: Tensor) -> Iterator[tuple[slice, Tensor]]:
    """Blocks of the matrix of squared distances, what is below rounding set to 0."""
    xx, yy = x.square().sum(1), y.square().sum(1)
    for block in _blocks(len(x), len(y)):
        scale = xx[block, None] + yy
        squares = torch.addmm(scale, x[block], y.T, alpha=-2)
        yield block, squares.masked_fill_(squares <= scale.mul_(SAME), 0.0)


def _radii(x: Tensor, k: int) -> Tensor:
    """The squared distance of each point to its k-th nearest neighbour in the set, widened by rounding: ``[n]``."""
    parts = []
    for block, squares in _squared_distances(x, x):
        here = torch.arange(block.start, block.stop, device=x.device)
        squares[here - block.start, here] = 0.0
        parts.append(squares.topk(k + 1, dim=1, largest=False).values[:, k])  # the first is the point itself
    return torch.cat(parts) * (1 + 1e-9)


def _balls_around(x: Tensor, centres: Tensor, radii: Tensor) -> Tensor:
    """How many balls hold each row of ``x``: ``[len(x)]``."""
    return torch.cat([(squares <= radii).sum(1) for _, squares in _squared_distances(x, centres)])


def _nearest(x: Tensor, y: Tensor) -> Tensor:
    """The squared distance of each row of ``x`` to the nearest of ``y``: ``[len(x)]``."""
    return torch.cat([squares.amin(1) for _, squares in _squared_distances(x, y)])
