"""A disk that is full, for tests: the kernel refuses what would make a file longer."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

if os.name == "posix":
    import resource

needs_limits = pytest.mark.skipif(os.name != "posix", reason="limits of file sizes")


@contextmanager
def files_end_at(size: int) -> Iterator[None]:
    """Within the context no file of this process grows beyond ``size`` bytes; writing more is an OSError."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)  # Python ignores SIGXFSZ
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
