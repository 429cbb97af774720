"""Size and spread of the logits."""

from __future__ import annotations

from torch import Tensor

from trainables.losses.smoothing import in_reporting_precision


def logit_statistics(logits: Tensor) -> dict[str, float]:
    """How large a network's logits are, as means over the samples.

    Source: "Softmax Gradient Tampering" (later arXiv 2111.12495), Fig. 3 and its official code; methods.md B.7.

    Args:
        logits: z, (N, C) float of any precision, N >= 1, finite, before any temperature.

    Returns:
        ``val/logit_norm``, the L2 norm of a sample's logits; ``val/logit_mean``, the absolute value of their mean;
        ``val/logit_max``, that of the largest of them (by sign: for -3 and -1 it is 1); ``val/logit_variance``, their
        variance (ddof 0). All >= 0, in the unit of the logits, the variance in its square.

    Raises:
        ValueError: The logits are not (N, C), or there are none.

    Example:
        >>> import torch
        >>> logit_statistics(torch.tensor([[3.0, -4.0], [0.0, 0.0]]))
        {'val/logit_norm': 2.5, 'val/logit_mean': 0.25, 'val/logit_max': 1.5, 'val/logit_variance': 6.125}
    """
    if logits.ndim != 2 or logits.numel() == 0:
        raise ValueError(f"logits must be (N, C) with N and C >= 1, got {tuple(logits.shape)}. Measure a whole split.")
    z = in_reporting_precision(logits.detach())
    per_sample = {
        "val/logit_norm": z.norm(dim=1),
        "val/logit_mean": z.mean(dim=1).abs(),
        "val/logit_max": z.amax(dim=1).abs(),
        "val/logit_variance": z.var(dim=1, correction=0),
    }
    return {name: float(values.double().mean()) for name, values in per_sample.items()}
