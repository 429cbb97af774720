"""Calibration: how far confidence is from accuracy, and the one temperature that repairs most of it.

Everything here takes the scaled logits Z of the predictions softmax(Z), log-probabilities among them, and computes in
float64, a few samples at a time.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from functools import partial

import torch
from torch import Tensor

_BETAS = (1e-4, 1e4)
"""1/T is looked for between these."""
_STEPS = 100
_TOLERANCE = 1e-8
"""Relative size of the last step; the error is about its square, because Newton's steps converge quadratically."""
_LOWEST_GAP = -1e30
"""Stands in for -inf, which times a probability of 0 is not a number."""
_CHUNK = 1 << 17
"""Logits that are worked on at a time: 1 MiB in float64."""


def fit_temperature(scaled_logits: Tensor, target: Tensor) -> Tensor:
    """The temperature T > 0 for which softmax(Z / T) makes the labels most likely.

    The mean negative log-likelihood is convex in 1/T; its minimum is found by Newton's method on 1/T, kept in a bracket
    that is bisected where a step leaves it or does not converge.

    Source: Guo et al. 2017, "On Calibration of Modern Neural Networks", arXiv 1706.04599, temperature scaling.

    Args:
        scaled_logits: Z, (N, C) float of any precision, N >= 1; logits as they enter the softmax, or log-probabilities.
            Finite, or -inf for a class of probability 0.
        target: (N,) int64 in 0..C-1, on the device of Z.

    Returns:
        () float64 in 1e-4..1e4, on the device of Z. An end of the range where the likelihood improves beyond it: 1e-4
        if every label is a class of largest Z, 1e4 if Z says no more than chance. 1 if no T changes anything.

    Raises:
        ValueError: Shapes do not fit, or Z holds NaN, +inf or a row of -inf.

    Example:
        >>> z = torch.tensor([[1.0, 0.0]] * 4)
        >>> round(float(fit_temperature(z, torch.tensor([0, 0, 0, 1]))), 4)  # 3 of 4 right: Z / T should be ln 3
        0.9102
    """
    _check(scaled_logits, target)
    beta = _root(partial(_loss_derivatives, scaled_logits.detach(), target), *_BETAS)
    return torch.tensor(1 / beta, dtype=torch.float64, device=scaled_logits.device)


def expected_calibration_error(log_probabilities: Tensor, target: Tensor, bins: int = 15) -> Tensor:
    """Mean distance between confidence and accuracy over bins of equal width, weighted by their samples (ECE, l1).

    A bin holds its lower edge, as in torchmetrics, and the last one both edges (torchmetrics gives confidence 1 a bin
    of its own, which cannot lower the error).

    Source: Naeini et al. 2015 and Guo et al. 2017, arXiv 1706.04599.

    Args:
        log_probabilities: (N, C) float of any precision, N >= 1, normalised.
        target: (N,) int64 in 0..C-1, on the same device.
        bins: Number of bins of the top probability, >= 1; 15 in the source.

    Returns:
        () float64 in 0..1.

    Raises:
        ValueError: Shapes do not fit, or bins < 1.

    Example:
        >>> p = torch.tensor([[0.75, 0.25]] * 4, dtype=torch.float64)
        >>> float(expected_calibration_error(p.log(), torch.tensor([0, 0, 0, 1])))  # as often right as it says
        0.0
    """
    _check(log_probabilities, target)
    if bins < 1:
        raise ValueError(f"bins must be >= 1, got {bins}. Use 15.")
    top, predicted = log_probabilities.detach().max(dim=1)
    return _binned_error(top.double().exp(), predicted == target, bins)


def calibration_metrics(split: str, scaled_logits: Tensor, target: Tensor, temperature: Tensor) -> dict[str, float]:
    """Calibration on a split, before and after division by a temperature that was fitted on the validation split.

    Args:
        split: ``val`` or ``test``, the first part of the names.
        scaled_logits: Z, (N, C) float of any precision, N >= 1, as for ``fit_temperature``.
        target: (N,) int64 in 0..C-1, on the device of Z.
        temperature: T, () float > 0.

    Returns:
        ``{split}/ece`` of softmax(Z), ``{split}/loss_refit`` (mean negative log-likelihood, nats) and
        ``{split}/ece_refit`` of softmax(Z / T), with 15 bins.

    Raises:
        ValueError: Shapes do not fit.
    """
    _check(scaled_logits, target)
    z, t = scaled_logits.detach(), float(temperature)
    confidences, refitted, losses, hits = [], [], [], []
    for rows, labels in _chunks(z, target):
        top, predicted = rows.max(dim=1)
        confidences.append((top - rows.logsumexp(dim=1)).exp())
        normaliser = (rows / t).logsumexp(dim=1)
        refitted.append((top / t - normaliser).exp())
        losses.append(normaliser - _at(rows, labels) / t)
        hits.append(predicted == labels)
    hit = torch.cat(hits)
    values = [
        _binned_error(torch.cat(confidences), hit, 15),
        torch.cat(losses).mean(),
        _binned_error(torch.cat(refitted), hit, 15),
    ]
    names = (f"{split}/ece", f"{split}/loss_refit", f"{split}/ece_refit")
    return dict(zip(names, torch.stack(values).tolist(), strict=True))


def _binned_error(confidence: Tensor, hit: Tensor, bins: int) -> Tensor:
    inner_edges = torch.linspace(0, 1, bins + 1, dtype=confidence.dtype, device=confidence.device)[1:-1]
    in_bin = torch.bucketize(confidence, inner_edges, right=True).unsqueeze(1) == torch.arange(
        bins, device=confidence.device
    )
    surplus = (hit.to(confidence.dtype) - confidence) @ in_bin.to(confidence.dtype)  # no atomics: repeatable on CUDA
    return surplus.abs().sum() / len(confidence)


def _loss_derivatives(scaled_logits: Tensor, target: Tensor, beta: float) -> tuple[float, float]:
    """First and second derivative in beta of the mean negative log-likelihood of softmax(beta Z)."""
    sums = []
    for rows, labels in _chunks(scaled_logits, target):
        gaps = (rows - rows.amax(dim=1, keepdim=True)).clamp_(min=_LOWEST_GAP)
        weights = (beta * gaps).exp_()
        total = weights.sum(dim=1)
        mean = weights.mul_(gaps).sum(dim=1) / total
        mean_square = weights.mul_(gaps).sum(dim=1) / total
        sums.append(torch.stack([(mean - _at(gaps, labels)).sum(), (mean_square - mean.square()).sum()]))
    slope, curvature = (torch.stack(sums).sum(dim=0) / len(target)).tolist()
    return slope, curvature


def _root(derivatives: Callable[[float], tuple[float, float]], low: float, high: float) -> float:
    """Where the slope of a convex function of x in low..high crosses 0; an end if it does not, 1 if it is 0 all over.

    Raises:
        ValueError: The slope is not a number.
    """
    x, last_step = 1.0, math.inf
    slope, curvature = derivatives(x)
    if math.isnan(slope):
        raise ValueError("scaled_logits must be finite or -inf, got NaN, +inf or a row of -inf. Check for divergence.")
    if slope <= 0 and derivatives(high)[0] <= 0:
        return high if derivatives(low)[0] < 0 else x
    if slope > 0 and derivatives(low)[0] >= 0:
        return low
    for _ in range(_STEPS):
        low, high = (low, x) if slope > 0 else (x, high)
        following = x - slope / curvature if curvature > 0 else 0.0
        if not low <= following <= high or abs(math.log(following / x)) > last_step / 2:
            following = math.sqrt(low * high)
        x, last_step = following, abs(math.log(following / x))
        if last_step <= _TOLERANCE:
            break
        slope, curvature = derivatives(x)
    return x


def _chunks(scaled_logits: Tensor, target: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    rows = max(1, _CHUNK // scaled_logits.shape[1])
    for z, labels in zip(torch.split(scaled_logits, rows), torch.split(target, rows), strict=True):
        yield z.double(), labels


def _at(values: Tensor, target: Tensor) -> Tensor:
    """The value (N,) of every sample at its label."""
    return values.gather(1, target.unsqueeze(1)).squeeze(1)


def _check(scaled_logits: Tensor, target: Tensor) -> None:
    if scaled_logits.ndim != 2 or scaled_logits.numel() == 0 or target.shape != scaled_logits.shape[:1]:
        raise ValueError(
            f"logits must be (N, C) with N and C >= 1, and target (N,), got {tuple(scaled_logits.shape)} and "
            f"{tuple(target.shape)}. Give one row of logits and one label a sample."
        )
