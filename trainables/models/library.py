"""Networks of torchvision and timm by name, always with new parameters; nothing is downloaded."""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence

import torch
from torch import nn

_LAST_NORM_STARTS_AT_ZERO = re.compile(r"(wide_)?res(net|next)\d.*")
_AUXILIARY_HEADS = {"googlenet", "inception_v3"}


@functools.cache
def names(library: str) -> tuple[str, ...]:
    """All image classifiers of ``torchvision`` or ``timm``; takes seconds, because the library is imported."""
    if library == "torchvision":
        from torchvision import models

        return tuple(models.list_models(module=models))
    import timm

    return tuple(timm.list_models())


def from_torchvision(name: str, *, channels_in: int, num_classes: int) -> nn.Module:
    """A network of torchvision, initialised as there; ResNets and their kin with zero in each block's last norm.

    So does the code of "Softmax gradient tampering" (methods.md B.7), after Goyal et al. (arXiv 1706.02677). Auxiliary
    heads are left out.

    Args:
        name: One of ``names("torchvision")``.
        channels_in: Channels of the images; torchvision knows only 3.
        num_classes: C.

    Raises:
        ValueError: The images do not have three channels.
    """
    from torchvision import models

    if channels_in != 3:
        raise ValueError(
            f"model torchvision/{name} needs images with 3 channels, got {channels_in}. "
            "Use a network of timm, which takes any number, or for example resnet-20."
        )
    options: dict[str, bool] = {}
    if _LAST_NORM_STARTS_AT_ZERO.fullmatch(name):
        options["zero_init_residual"] = True
    if name in _AUXILIARY_HEADS:
        options |= {"aux_logits": False, "init_weights": True}
    network: nn.Module = models.get_model(name, weights=None, num_classes=num_classes, **options)
    return network


def from_timm(name: str, *, channels_in: int, num_classes: int) -> nn.Module:
    """A network of timm, initialised as there (ResNets with zero in each block's last norm).

    Args:
        name: One of ``names("timm")``.
        channels_in: Channels of the images.
        num_classes: C.

    Raises:
        ValueError: The network cannot be made with so many channels or classes.
    """
    import timm

    try:
        network: nn.Module = timm.create_model(name, pretrained=False, in_chans=channels_in, num_classes=num_classes)
    except (TypeError, AssertionError, RuntimeError) as error:
        raise ValueError(
            f"model timm/{name} cannot be made for {channels_in} channels and {num_classes} classes: {error}. "
            "Use another network."
        ) from error
    for module in network.modules():
        for buffer_name, buffer in list(module.named_buffers(recurse=False)):
            module.register_buffer(buffer_name, buffer)  # persistent, so that a saved network is whole
    return network


def check_fit(name: str, network: nn.Module, input_shape: Sequence[int], num_classes: int) -> None:
    """Checks by one pass in evaluation mode that a network of a library takes images and gives logits.

    Args:
        name: For the message.
        network: On the CPU; left in training mode.
        input_shape: (channels, height, width).
        num_classes: C.

    Raises:
        ValueError: The pass fails, or gives anything but (1, C).
    """
    shape = "x".join(map(str, input_shape))
    network.eval()
    try:
        with torch.no_grad():
            logits = network(torch.zeros(1, *input_shape))
    except (RuntimeError, AssertionError, ValueError, TypeError, IndexError, AttributeError) as error:
        reason = str(error).strip().partition("\n")[0].rstrip(".!")
        raise ValueError(
            f"model {name} must take images of {shape}, but fails: {reason}. Use images of the size it was made for "
            "(often 3x224x224), or another network."
        ) from error
    finally:
        network.train()
    if not (isinstance(logits, torch.Tensor) and logits.shape == (1, num_classes)):
        found = tuple(logits.shape) if isinstance(logits, torch.Tensor) else type(logits).__name__
        raise ValueError(f"model {name} must give logits (1, {num_classes}) for one image, got {found}. Use another.")
