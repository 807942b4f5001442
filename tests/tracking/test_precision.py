"""Precisions by device, and PyTorch's switches of TF32, which threads share."""

import warnings

import pytest
import torch

from memotr.errors import UserError
from memotr.tracking import precision as module
from memotr.tracking.precision import resolve_precision, tf32_switched
from memotr.tracking.tracker import Tracker
from tests.builders import tiny_model
from tests.tracking.test_compiled import video

CPU, CUDA = torch.device("cpu"), torch.device("cuda", 0)


def switches():
    return torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32


@pytest.fixture(autouse=True)
def _users_settings():
    """Products and convolutions set by the user, to be found again afterwards."""
    before = switches()
    torch.set_float32_matmul_precision("medium")
    torch.backends.cudnn.allow_tf32 = True
    yield
    assert switches() == ("medium", True)
    torch.set_float32_matmul_precision(before[0])
    torch.backends.cudnn.allow_tf32 = before[1]


def test_auto_is_tf32_where_the_device_has_it(monkeypatch):
    assert resolve_precision("auto", CPU) == "32"
    monkeypatch.setattr(torch.cuda, "device", lambda device: warnings.catch_warnings())
    for has, wanted in ((True, "tf32"), (False, "32")):
        monkeypatch.setattr(torch.cuda, "is_tf32_supported", lambda has=has: has)
        assert resolve_precision("auto", CUDA) == wanted
        assert resolve_precision("fp16", CUDA) == "fp16"
    with pytest.raises(UserError, match="tf32 needs an NVIDIA GPU of 2020 or later, this is cuda:0: take 32"):
        resolve_precision("tf32", CUDA)
    with pytest.raises(UserError, match="this is cpu"):
        Tracker(tiny_model(), precision="tf32")


def test_a_tracker_names_the_precision_that_it_uses():
    assert Tracker(tiny_model()).precision == "32"
    assert Tracker(tiny_model()).another().precision == "32"


@pytest.mark.parametrize(
    ("precision", "wanted"), [("32", ("highest", False)), ("tf32", ("high", True)), ("bf16", ("medium", True))]
)
def test_the_switches_of_a_precision(precision, wanted):
    with tf32_switched(precision):
        assert switches() == wanted


def test_a_frame_runs_with_the_switches_of_its_tracker():
    found = []
    tracker = Tracker(tiny_model(), precision="32")
    tracker.network.register_forward_pre_hook(lambda *_: found.append(switches()))
    tracker.update(video(1)[0])
    assert found == [("highest", False)]


def test_threads_do_not_take_exactness_from_each_other():
    exact, rounded, other = tf32_switched("32"), tf32_switched("tf32"), tf32_switched("32")
    rounded.__enter__()
    assert switches() == ("high", True)
    exact.__enter__()
    other.__enter__()
    exact.__exit__(None, None, None)
    assert switches() == ("highest", False), "while one needs it"
    other.__exit__(None, None, None)
    assert switches() == ("high", True)
    rounded.__exit__(None, None, None)


def test_settings_that_somebody_made_separately_stay(monkeypatch):
    class Mixed:
        @property
        def allow_tf32(self):
            raise RuntimeError("set for each operation apart")

    with monkeypatch.context() as patched:
        patched.setattr(module.torch.backends, "cudnn", Mixed())
        with tf32_switched("32"):
            assert torch.get_float32_matmul_precision() == "highest"


def test_slow_bf16_is_mentioned_once(monkeypatch):
    module._warn_of_slow_bf16.cache_clear()
    monkeypatch.setattr(module.platform, "machine", lambda: "x86_64")
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False)
    with pytest.warns(UserWarning, match="no instructions for it; 32 may be faster"):
        assert resolve_precision("bf16", CPU) == "bf16"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        resolve_precision("bf16", CPU)
        module._warn_of_slow_bf16.cache_clear()
        monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: True)
        resolve_precision("bf16", CPU)
