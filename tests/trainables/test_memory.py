import gc
import weakref
from typing import Any

import numpy as np
import pytest
import torch

from trainables import TrialConfig, prepare
from trainables.engine.train import Training
from trainables.memory import let_go, measured, shortage

SMALL = {"dataset": "digits", "model": "mlp-16", "epochs": 2}
LARGE = SMALL | {"model": "wrn-16-16384"}  # one of its layers alone is 2.5 TB


@pytest.fixture(autouse=True, scope="module")
def _digits() -> None:
    prepare("digits")


def config(recipe: dict[str, Any], **values: Any) -> dict[str, Any]:
    return TrialConfig(trial="t0001", recipe=recipe, seeds=(0,), report_every_s=0.0, **values).to_dict()


def study_trial(recipe: dict[str, Any], **values: Any) -> Any:
    pytest.importorskip("ray", reason="trainables run without Ray, and so do their tests")
    from trainables.trial import StudyTrial

    return StudyTrial(config=config(recipe, **values))


def next_report(trial: Any) -> dict[str, Any]:
    (report,) = trial.step().values()
    return dict(report[0])


def too_much_of(maker: Any) -> Exception:
    with pytest.raises(Exception) as raised:  # noqa: PT011  # what is raised is what is asked
        maker()
    return raised.value


@pytest.mark.parametrize(
    ("maker", "words"),
    [
        (lambda: torch.empty(10**15), "can't allocate memory: you tried to allocate 4000000000000000 bytes"),
        (lambda: np.empty(10**15), "Unable to allocate"),
        (lambda: bytearray(10**17), "no memory was left"),
    ],
)
def test_real_lacks_of_memory_are_told_in_a_line(maker: Any, words: str) -> None:
    said = shortage(too_much_of(maker))
    assert said is not None
    assert words in said
    assert "enforce fail" not in said
    assert "\n" not in said


def test_what_cuda_says_is_known() -> None:
    """As torch 2.15 writes it: c10/cuda/CUDACachingAllocator.cpp, aten/src/ATen/cuda/CUDABlas.cpp."""
    cuda = torch.OutOfMemoryError(
        "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 79 GiB"
    )
    assert str(shortage(cuda)).startswith("CUDA out of memory. Tried to allocate 2.00 GiB")
    assert shortage(RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"))


@pytest.mark.parametrize(
    "error",
    [RuntimeError("mat1 and mat2 shapes cannot be multiplied"), ValueError("out of memory"), OSError(28, "full")],
)
def test_other_errors_are_no_lack_of_memory(error: Exception) -> None:
    assert shortage(error) is None


def test_memory_of_the_cpu_is_not_shared_out() -> None:
    let_go("cpu")
    assert measured("cpu") is None


def test_a_network_that_fits_no_memory_is_a_report_and_the_worker_is_sound() -> None:
    trial = study_trial(LARGE, attempt=3)
    report = next_report(trial)
    assert "can't allocate memory" in report["out_of_memory"]
    assert (report["attempt"], report["epochs"], report["finished"]) == (3, [], False)
    assert trial.reset_config(config(SMALL))
    report = next_report(trial)
    assert report["out_of_memory"] is None
    assert [row["epoch"] for row in report["epochs"]] == [1]


def test_memory_that_ends_in_the_middle_is_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    trial = study_trial(SMALL)
    trial.step()
    training = weakref.ref(trial._session._training)
    with monkeypatch.context() as patch:
        patch.setattr(Training, "train_epoch", lambda self: torch.empty(10**15))
        report = next_report(trial)
    assert "can't allocate memory" in report["out_of_memory"]
    gc.collect()
    assert training() is None


def test_any_other_error_of_a_trial_is_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    trial = study_trial(SMALL)
    monkeypatch.setattr(Training, "train_epoch", lambda self: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        trial.step()
