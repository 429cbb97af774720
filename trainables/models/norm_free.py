"""Any network without its normalisation: every norm becomes an identity, and all else stays as it was.

So have the papers it: "Temperature check" (arXiv 2010.07344) trains a Wide ResNet "without batch norm", the code of
"Softmax gradient tampering" a ResNet-18. The first logits can be far larger than with norms, because nothing holds the
sum of the residual branches; ``loss.logit_norm`` sets them.
"""

from __future__ import annotations

from collections.abc import Iterator

from torch import nn
from torch.nn.modules.batchnorm import _NormBase

_NORMS = (_NormBase, nn.GroupNorm, nn.LayerNorm, nn.RMSNorm, nn.LocalResponseNorm)
"""Batch, instance and synchronised norms are all _NormBase."""
_MODULES_OF_TIMM = frozenset({"timm.layers.norm", "timm.layers.norm_act", "timm.layers.grn"})
"""Where timm defines its norms, by name: it need not be there to be imported."""
_INSEPARABLE = frozenset({"timm.layers.evo_norm", "timm.layers.filter_response_norm"})
"""Norms whose formula is the activation, too."""


def norms(network: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """The normalisation layers of a network with their names."""
    return ((name, module) for name, module in network.named_modules() if _is_norm(module))


def without_norms(network: nn.Module) -> nn.Module:
    """Turns every normalisation layer into an identity, in place; one with an activation built in becomes that.

    Args:
        network: Is changed.

    Returns:
        The network.

    Raises:
        ValueError: It has no norm, or one that cannot be told from its activation.
    """
    found = dict(norms(network))
    if not found:
        raise ValueError(f"a norm-free network must have norms to leave out, {type(network).__name__} has none.")
    for name, norm in found.items():
        if type(norm).__module__ in _INSEPARABLE:
            raise ValueError(
                f"a norm-free network must have norms apart from its activations, got {type(norm).__name__} ({name}). "
                "Use a network with batch norm."
            )
        owner, _, leaf = name.rpartition(".")
        rest = [getattr(norm, part) for part in ("drop", "act") if hasattr(norm, part)]  # of timm's norms
        setattr(network.get_submodule(owner), leaf, nn.Sequential(*rest) if rest else nn.Identity())
    for module in network.modules():
        if hasattr(module, "inplace"):
            module.inplace = False  # type: ignore[assignment]  # it would change a residual the norm used to copy
    return network


def _is_norm(module: nn.Module) -> bool:
    return isinstance(module, _NORMS) or any(
        base.__module__ in _MODULES_OF_TIMM | _INSEPARABLE for base in type(module).__mro__
    )
