"""What every test gets: the same random numbers whatever ran before it, and a fair share of the processor."""

import os
import signal
import tempfile

import pytest
import torch


def pytest_configure() -> None:
    """Share the cores among pytest-xdist's workers, fetch no weights, and have Ctrl-C work as in a terminal."""
    os.environ |= {"MEMOTR_OFFLINE": "1", "MEMOTR_HOME": f"{tempfile.gettempdir()}/memotr-tests"}
    # A shell that starts the tests in the background has them ignore SIGINT, and what they test with them.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if hasattr(signal, "SIGHUP"):
        signal.signal(signal.SIGHUP, signal.SIG_DFL)  # `nohup` has it ignored
    # Full thread pools in each worker only wait for one another.
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    if workers > 1:
        torch.set_num_threads(max(1, torch.get_num_threads() // workers))


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip tests marked `cuda` or `mps` where there is no such device."""
    if item.get_closest_marker("cuda") and not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    if item.get_closest_marker("mps") and not torch.backends.mps.is_available():
        pytest.skip("needs a GPU of Apple's")


@pytest.fixture(autouse=True)
def seeded() -> None:
    """Tests run in any order and on any worker, so each starts from the same seed of PyTorch's global generator."""
    torch.manual_seed(0)
