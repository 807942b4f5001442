"""Export of a model to checked files."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from memotr.errors import UserError, first_line
from memotr.export.check import check
from memotr.export.description import describe
from memotr.export.engines import choose_engine, open_engine
from memotr.export.program import trace, write_onnx, write_program
from memotr.files import check_writable, replacing
from memotr.models.memotr import MeMOTR
from memotr.terminal import say


def export_model(model: MeMOTR, paths: Sequence[Path], report: Callable[[str], None] = say) -> None:
    """Trace the model's frame step once, then write, load and check each file before it gets its name.

    Args:
        model: model on the CPU; its kernel becomes "reference".
        paths: files to write, each ending in .onnx or .pt2.
        report: called with a line of text for each long operation and each file.

    Raises:
        UserError: a path has another ending or cannot be written, the model cannot be exported, or the results of a
            file differ from the model's.
    """
    engines = [choose_engine(path, "auto") for path in paths]
    for path, engine in zip(paths, engines, strict=True):
        if engine == "torch":
            raise UserError(f"{path}: expected a file that ends in .onnx or .pt2")
        check_writable(path)  # before tracing, which takes minutes
    if "onnx" in engines:
        import onnxruntime  # noqa: F401  raises ImportError before the slow tracing
        import onnxscript  # noqa: F401
    report("tracing the frame step, which takes a few minutes")
    with backbone_errors(model):
        step, program = trace(model)
    description = describe(model.config)
    for path, engine in zip(paths, engines, strict=True):
        write = write_onnx if engine == "onnx" else write_program
        with replacing(path, suffix=path.suffix) as draft:
            report(f"writing {path}")
            with backbone_errors(model):
                write(program, draft, description)
            difference = check(step, open_engine(draft, "cpu"))
            size = draft.stat().st_size / 1e6
        report(
            f"wrote {path}: {size:.0f} MB, equal to PyTorch (ids are equal, everything else within {difference:.0e})"
        )


@contextmanager
def backbone_errors(model: MeMOTR) -> Iterator[None]:
    """Convert errors of the exporter to UserError if the backbone is of another library and may not be exportable."""
    try:
        yield
    except (UserError, OSError, MemoryError):
        raise
    except Exception as error:
        backbone = model.config.model.backbone
        if backbone.transformers_type is None:
            raise
        reason = first_line(error).partition(". ")[0]
        raise UserError(f"the backbone {backbone.name} cannot be exported for images of any size: {reason}") from None
