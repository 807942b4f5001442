"""Precisions by device, and PyTorch's settings of float32 products, which threads share."""

import threading
import warnings
from typing import get_args

import pytest
import torch

from memotr.errors import UserError
from memotr.tracking import precision as module
from memotr.tracking.batch import batched
from memotr.tracking.precision import products_in, resolve_precision
from memotr.tracking.tracker import Tracker
from memotr.vocabulary import Precision
from tests.builders import tiny_model
from tests.tracking.test_compiled import video

CPU, CUDA = torch.device("cpu"), torch.device("cuda", 0)


EXACT, ROUNDED = ["ieee"] * 6, ["tf32"] * 3 + ["ieee"] * 3
BACKENDS = torch.backends


def newer():
    """Precision of matrix products, convolutions and recurrent layers on CUDA, then on CPUs."""
    owners = BACKENDS.cuda.matmul, BACKENDS.cudnn.conv, BACKENDS.cudnn.rnn
    on_cpu = BACKENDS.mkldnn.matmul, BACKENDS.mkldnn.conv, BACKENDS.mkldnn.rnn
    return [owner.fp32_precision for owner in (*owners, *on_cpu)]


def older():
    return torch.get_float32_matmul_precision(), BACKENDS.cuda.matmul.allow_tf32, BACKENDS.cudnn.allow_tf32


@pytest.fixture(autouse=True)
def _settings_of_pytorch():
    before = module._take()
    module._write(before)
    yield
    module._write(before)


def test_auto_is_tf32_where_the_device_has_it(monkeypatch):
    assert resolve_precision("auto", CPU) == "32"
    monkeypatch.setattr(torch.cuda, "device", lambda device: warnings.catch_warnings())
    for has, wanted in ((True, "tf32"), (False, "32")):
        monkeypatch.setattr(torch.cuda, "is_tf32_supported", lambda has=has: has)
        assert resolve_precision("auto", CUDA) == wanted
        assert resolve_precision("fp16", CUDA) == "fp16"
    with pytest.raises(UserError, match="NVIDIA GPU of 2020 or later, and the device is cuda:0: choose 32"):
        resolve_precision("tf32", CUDA)
    with pytest.raises(UserError, match="the device is cpu"):
        Tracker(tiny_model(), precision="tf32")


def test_a_tracker_names_the_precision_that_it_uses():
    assert Tracker(tiny_model()).precision == "32"
    assert Tracker(tiny_model()).another().precision == "32"


OPERATIONS = {
    "cuda.matmul": ("ieee", "tf32"),
    "cudnn.conv": ("none", "ieee"),
    "cudnn.rnn": ("none", "ieee"),
    "mkldnn.matmul": ("ieee", "bf16"),
    "mkldnn.conv": ("ieee", "bf16"),
}
SETTINGS = [
    (matmul, cudnn, level, operation)
    for matmul in ("highest", "high", "medium")
    for cudnn in (True, False)
    for level in (None, "ieee", "bf16")
    for operation in (None, *((name, value) for name, values in OPERATIONS.items() for value in values))
]


def owner_of(name):
    found = BACKENDS
    for part in name.split("."):
        found = getattr(found, part)
    return found


def set_by_user(matmul, cudnn, level, operation):
    """Set older names first, as PyTorch demands."""
    torch.set_float32_matmul_precision(matmul)
    BACKENDS.cudnn.allow_tf32 = cudnn
    if level:
        BACKENDS.fp32_precision = level
    if operation:
        owner_of(operation[0]).fp32_precision = operation[1]


def as_seen():
    """All settings, also those behind a level that hides them."""
    found = [newer()]
    for ask in (torch.get_float32_matmul_precision, lambda: BACKENDS.cudnn.allow_tf32):
        try:
            found.append(ask())
        except RuntimeError as error:
            found.append(str(error).splitlines()[0])
    level, cudnn = BACKENDS.fp32_precision, BACKENDS.cudnn.fp32_precision
    for other in ("ieee", "none"):
        BACKENDS.fp32_precision = other
        found.append(newer())
    BACKENDS.fp32_precision = level
    return [*found, level, cudnn]


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_settings_of_the_user_do_not_reach_a_frame_and_are_restored(settings):
    set_by_user(*settings)
    before = as_seen()
    for precision in get_args(Precision):
        if precision == "auto":
            continue
        with products_in(precision):
            assert newer() == (ROUNDED if precision == "tf32" else EXACT)
            assert older() == (("high", True, True) if precision == "tf32" else ("highest", False, False))
        assert as_seen() == before
    with pytest.raises(ValueError, match="a failure"), products_in("32"):
        raise ValueError("a failure")
    assert as_seen() == before


def test_products_on_a_cpu_are_exact_whatever_the_user_set():
    torch.manual_seed(0)
    tracker, frame = Tracker(tiny_model(), track_thresh=0, det_thresh=0), video(1)[0]
    wanted = tracker.update(frame)
    BACKENDS.mkldnn.matmul.fp32_precision = BACKENDS.mkldnn.conv.fp32_precision = "bf16"
    tracker.reset()
    found = tracker.update(frame)
    assert len(found)
    assert (found.boxes == wanted.boxes).all()
    assert (found.scores == wanted.scores).all()


@pytest.mark.parametrize(("precision", "wanted"), [("32", EXACT), ("bf16", EXACT)])
def test_a_frame_runs_with_the_settings_of_its_precision(precision, wanted):
    found = []
    tracker = Tracker(tiny_model(), precision=precision)
    tracker.network.register_forward_pre_hook(lambda *_: found.append(newer()))
    tracker.network.query_updater.register_forward_pre_hook(lambda *_: found.append(newer()))
    tracker.update(video(1)[0])
    assert found == [wanted, wanted], "network and memory"


def thread(work, *arguments):
    started = threading.Thread(target=work, args=arguments, daemon=True)
    started.start()
    return started


class Turn:
    """A thread that enters, says so, and stays until it is told to leave."""

    def __init__(self, precision):
        self.precision, self.entered, self.leave = precision, threading.Event(), threading.Event()
        self.seen = None
        self.thread = thread(self._run)

    def _run(self):
        with products_in(self.precision):
            self.seen = newer()
            self.entered.set()
            assert self.leave.wait(30)

    def end(self):
        self.leave.set()
        self.thread.join(30)
        assert not self.thread.is_alive()

    def queue(self):
        """Return once the thread waits for its turn."""
        while not self.entered.is_set() and self.thread.ident not in module._turns.queue:
            threading.Event().wait(1e-3)
        assert not self.entered.is_set()


def test_threads_that_need_other_settings_wait_and_none_is_overtaken():
    rounded = Turn("tf32")
    assert rounded.entered.wait(30)
    beside = Turn("tf32")
    assert beside.entered.wait(30), "same settings"
    exact = Turn("bf16")
    exact.queue()
    late = Turn("tf32")
    late.queue()
    rounded.end()
    exact.queue()
    beside.end()
    assert exact.entered.wait(30), "before the one that came later"
    late.queue()
    assert exact.seen == EXACT
    exact.end()
    assert late.entered.wait(30)
    assert late.seen == ROUNDED
    late.end()


def test_a_tracker_within_the_update_of_another_is_refused():
    tracker, other = Tracker(tiny_model()), Tracker(tiny_model())
    tracker.network.register_forward_pre_hook(lambda *_: other.update(video(1)[0]) and None)
    with pytest.raises(RuntimeError, match="within the update of another"):
        tracker.update(video(1)[0])
    other.update(video(1)[0])


def test_members_of_a_batch_do_not_keep_others_waiting_who_keep_them_waiting():
    """One member waits for the other, which waits behind a tracker of another precision."""
    batch, (one, other) = batched(Tracker(tiny_model(), precision="32"), 2)
    frame, done = video(1)[0], []

    def member(tracker, may_start):
        with batch.taking_part():
            joined.wait()
            assert may_start.wait(30)
            tracker.update(frame)
            done.append(tracker.frame)

    joined, at_once, later = threading.Barrier(3), threading.Event(), threading.Event()
    members = [thread(member, one, at_once), thread(member, other, later)]
    joined.wait()
    at_once.set()
    while not batch._waiting:
        threading.Event().wait(1e-3)
    between = Turn("tf32")
    assert between.entered.wait(30), "while a member waits"
    later.set()
    between.end()
    for each in members:
        each.join(30)
    assert done == [1, 1]


@pytest.mark.parametrize(
    ("precision", "instructions"), [("bf16", "avx512_bf16"), ("bf16", "bf16"), ("fp16", "fp16_arith")]
)
def test_a_precision_without_instructions_is_mentioned_once(monkeypatch, precision, instructions):
    known = {"architecture": "any", "avx2": True, instructions: False}
    module._warn_of_slow.cache_clear()
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: known)
    with pytest.warns(UserWarning, match=f"precision {precision}: .*no instructions for it; 32 may be faster"):
        assert resolve_precision(precision, CPU) == precision
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        resolve_precision(precision, CPU)
        module._warn_of_slow.cache_clear()
        known[instructions] = True
        resolve_precision(precision, CPU)
