"""Fixtures of the training tests."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from tests.training.builders import write_videos


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """Compute in one thread: on tensors as small as these, a second one costs more than it gains."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two sequences of moving rectangles."""
    return write_videos(tmp_path_factory.mktemp("data"))
