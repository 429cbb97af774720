"""All families of networks: forms of names, sizes, sources, and how one is made.

Importing this loads no torch; a family's own module is imported when a network of it is made.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from trainables.models.name_rules import depth_of, known_to, widths_of
from trainables.models.registry import Family, Task

if TYPE_CHECKING:
    from torch import nn

    from trainables.models.text import Pooling

_COUNT = "[1-9][0-9]*"


def _mlp(found: re.Match[str], task: Task) -> nn.Module:
    from trainables.models.mlp import mlp

    return mlp(task.input_shape, [int(width) for width in found[0].split("-")[1:]], task.num_classes)


def _wide_resnet(found: re.Match[str], task: Task) -> nn.Module:
    from trainables.models.wide_resnet import wide_resnet

    depth, width = int(found["depth"]), int(found["width"])
    return wide_resnet(depth, width, channels_in=task.input_shape[0], num_classes=task.num_classes)


def _resnet(found: re.Match[str], task: Task) -> nn.Module:
    from trainables.models.resnet import resnet

    return resnet(int(found["depth"]), channels_in=task.input_shape[0], num_classes=task.num_classes)


def _resnext(found: re.Match[str], task: Task) -> nn.Module:
    from trainables.models.resnext import resnext29

    cardinality, width = int(found["cardinality"]), int(found["width"])
    return resnext29(cardinality, width, channels_in=task.input_shape[0], num_classes=task.num_classes)


def _vgg(found: re.Match[str], task: Task) -> nn.Module:
    from trainables.models.vgg import vgg8

    channels, height, width = task.input_shape
    return vgg8(channels_in=channels, height=height, width=width, num_classes=task.num_classes)


def _shufflenet(found: re.Match[str], task: Task) -> nn.Module:
    from trainables.models.shufflenet import shufflenet_v1

    return shufflenet_v1(channels_in=task.input_shape[0], num_classes=task.num_classes)


def _mobilenet(found: re.Match[str], task: Task) -> nn.Module:
    from trainables.models.mobilenet import mobilenet_v2

    return mobilenet_v2(float(found["width"]), channels_in=task.input_shape[0], num_classes=task.num_classes)


def _gru(found: re.Match[str], task: Task) -> nn.Module:
    from trainables.models.text import TextClassifier

    assert task.vocabulary is not None
    pooling: Pooling = "mean" if found["pooling"] == "mean" else "max" if found["pooling"] == "max" else "last"
    return TextClassifier(
        vocabulary=task.vocabulary,
        embedding_size=int(found["embedding"] or found["hidden"]),
        hidden_size=int(found["hidden"]),
        bidirectional=found["bidirectional"] is not None,
        pooling=pooling,
        num_classes=task.num_classes,
    )


def _torchvision(found: re.Match[str], task: Task) -> nn.Module:
    from trainables.models.library import from_torchvision

    return from_torchvision(found["name"], channels_in=task.input_shape[0], num_classes=task.num_classes)


def _timm(found: re.Match[str], task: Task) -> nn.Module:
    from trainables.models.library import from_timm

    return from_timm(found["name"], channels_in=task.input_shape[0], num_classes=task.num_classes)


FAMILIES = (
    Family(
        form="mlp-<width>-<width>...",
        pattern=re.compile(f"mlp(-{_COUNT})+"),
        purpose="hidden layers with ReLU, torch's default initialisation",
        source="Goodfellow et al. 2016, Deep Learning, chapter 6",
        reads="anything",
        has_norms=False,
        parameters={"mlp-128-128": 411_146},
        complaint=widths_of("mlp-<width>-<width>..."),
        make=_mlp,
    ),
    Family(
        form="wrn-<depth>-<width>",
        pattern=re.compile(f"wrn-(?P<depth>{_COUNT})-(?P<width>{_COUNT})"),
        purpose="wide residual network for small images, without dropout; depth 6n + 4",
        source="Zagoruyko & Komodakis 2016, arXiv 1605.07146",
        parameters={
            "wrn-16-1": 175_066,
            "wrn-16-4": 2_748_890,
            "wrn-28-8": 23_354_842,
            "wrn-28-10": 36_479_194,
            "wrn-40-4": 8_949_210,
        },
        complaint=depth_of("wrn-<depth>-<width>", 4),
        make=_wide_resnet,
    ),
    Family(
        form="resnet-<depth>",
        pattern=re.compile(f"resnet-(?P<depth>{_COUNT})"),
        purpose="residual network for small images; depth 6n + 2",
        source="He et al. 2016, arXiv 1512.03385",
        parameters={
            "resnet-8": 75_290,
            "resnet-14": 172_506,
            "resnet-20": 269_722,
            "resnet-32": 464_154,
            "resnet-44": 658_586,
            "resnet-56": 853_018,
            "resnet-110": 1_727_962,
        },
        complaint=depth_of("resnet-<depth>", 2),
        make=_resnet,
    ),
    Family(
        form="resnext-29-<cardinality>x<width>d",
        pattern=re.compile(f"resnext-29-(?P<cardinality>{_COUNT})x(?P<width>{_COUNT})d"),
        purpose="residual network of grouped convolutions for small images",
        source="Xie et al. 2017, arXiv 1611.05431",
        parameters={
            "resnext-29-4x4d": 1_207_882,
            "resnext-29-64x4d": 8_853_322,
            "resnext-29-8x64d": 34_426_698,
            "resnext-29-16x64d": 68_155_210,
        },
        complaint=widths_of("resnext-29-<cardinality>x<width>d"),
        make=_resnext,
    ),
    Family(
        form="vgg-8",
        pattern=re.compile("vgg-8"),
        purpose="student in distillation, for small images (from 8x8)",
        source="Tian et al. 2020, arXiv 1910.10699; after arXiv 1409.1556",
        classes=100,
        parameters={"vgg-8": 3_965_028},
        make=_vgg,
    ),
    Family(
        form="shufflenet-v1",
        pattern=re.compile("shufflenet-v1"),
        purpose="student in distillation, for small images",
        source="Tian et al. 2020, arXiv 1910.10699; after arXiv 1707.01083",
        classes=100,
        parameters={"shufflenet-v1": 949_258},
        make=_shufflenet,
    ),
    Family(
        form="mobilenet-v2-<width>",
        pattern=re.compile(r"mobilenet-v2-(?P<width>0\.[1-9][0-9]?|[1-9](\.[0-9]{1,2})?)"),
        purpose="student in distillation, for small images; the papers' has width 0.5",
        source="Tian et al. 2020, arXiv 1910.10699; after arXiv 1801.04381",
        classes=100,
        parameters={"mobilenet-v2-0.5": 812_836},
        make=_mobilenet,
    ),
    Family(
        form="gru-[<word vector>-]<units>[-bidirectional][-meanpool|-maxpool]",
        pattern=re.compile(
            f"gru-((?P<embedding>{_COUNT})-)?(?P<hidden>{_COUNT})"
            "(?P<bidirectional>-bidirectional)?(-(?P<pooling>mean|max)pool)?"
        ),
        purpose="word vectors, a gated recurrent unit, a linear layer on its last, mean or maximal state",
        source="Cho et al. 2014, arXiv 1406.1078",
        reads="texts",
        has_norms=False,
        classes=2,
        parameters={
            "gru-128": 2_659_330,
            "gru-64-128-bidirectional-meanpool": 1_429_506,
        },
        complaint=widths_of("gru-[<word vector>-]<units>"),
        make=_gru,
    ),
    Family(
        form="torchvision/<name>",
        pattern=re.compile(r"torchvision/(?P<name>\S+)"),
        purpose="any classifier of torchvision, not pretrained; ResNets start with zero in each block's last norm",
        source="docs.pytorch.org/vision/stable/models.html",
        classes=1000,
        parameters={
            "torchvision/resnet18": 11_689_512,
            "torchvision/resnet50": 25_557_032,
            "torchvision/resnet101": 44_549_160,
            "torchvision/wide_resnet50_2": 68_883_240,
            "torchvision/resnext101_32x8d": 88_791_336,
            "torchvision/alexnet": 61_100_840,
            "torchvision/shufflenet_v2_x1_0": 2_278_604,
            "torchvision/mobilenet_v2": 3_504_872,
        },
        complaint=known_to("torchvision"),
        make=_torchvision,
    ),
    Family(
        form="timm/<name>",
        pattern=re.compile(r"timm/(?P<name>\S+)"),
        purpose="any network of timm, not pretrained, for any number of channels",
        source="huggingface.co/docs/timm",
        classes=1000,
        parameters={
            "timm/seresnet18": 11_779_624,
            "timm/seresnet50": 28_088_024,
        },
        complaint=known_to("timm"),
        make=_timm,
    ),
)
