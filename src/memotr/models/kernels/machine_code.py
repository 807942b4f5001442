"""Machine code of the CPU kernels, kept on disk so that a new process loads it without Numba.

Importing Numba and setting up its functions takes more than half a second of every start, even where it finds its own
cached code. llvmlite, the LLVM below Numba, loads an object file in 30 ms. Kernels need nothing else: see
`numba_kernels`.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable
from contextlib import suppress
from hashlib import blake2b
from importlib.metadata import version
from pathlib import Path
from typing import Literal

from platformdirs import user_cache_path

from memotr.errors import UserError
from memotr.files import replacing

Name = Literal["forward", "backward"]

ARGUMENTS: dict[Name, str] = {"forward": "FIFFFIFnnnn", "backward": "FFIFFFFFIFFnnnn"}
"""Arguments of each kernel: F points to floating-point numbers, I to int32, n is an integer of a pointer's size."""

SYMBOL = "memotr_kernel"
DIGEST_SIZE = 16  # bytes, at the beginning of a file: LLVM ends the process at a damaged object file


def load(name: Name, channels: int, bits: Literal[32, 64]) -> Callable[..., None]:
    """Return a kernel of `numba_kernels` as a function of addresses and integers that releases the GIL.

    Its machine code is read from disk, or compiled and written. If the disk cannot be written, it is compiled in every
    process.

    Args:
        name: function of `numba_kernels`.
        channels: D.
        bits: size of a floating-point number.

    Raises:
        Exception: of any kind, if Numba or llvmlite is missing or does not work.
    """
    file = folder() / f"{name}-{channels}-{bits}-{_machine()}.o"
    code = _read(file)
    if code is None:
        code = _compile(name, channels, bits)
        with suppress(UserError, OSError), replacing(file) as draft:
            draft.write_bytes(_digest(code) + code)
    return _link(code, ARGUMENTS[name])


def folder() -> Path:
    """Return the folder of the object files: ``NUMBA_CACHE_DIR`` if set, otherwise in the user's cache folder.

    It is not in ``MEMOTR_HOME``: users may share their weights, but only trust machine code of their own.
    """
    given = os.environ.get("NUMBA_CACHE_DIR")
    return Path(given) if given else user_cache_path("memotr", appauthor=False) / "kernels"


def _machine() -> str:
    """Return a digest of everything that machine code depends on: sources, versions, settings of Numba, processor."""
    import llvmlite.binding as llvm

    sources = [Path(__file__).with_name(f"{name}.py").read_bytes() for name in ("machine_code", "numba_kernels")]
    settings = sorted(item for item in os.environ.items() if item[0].startswith("NUMBA_"))
    processor = (llvm.get_process_triple(), llvm.get_host_cpu_name(), llvm.get_host_cpu_features().flatten())
    return _digest(repr((sources, version("numba"), version("llvmlite"), settings, processor)).encode()).hex()


def _digest(data: bytes) -> bytes:
    return blake2b(data, digest_size=DIGEST_SIZE).digest()


def _read(file: Path) -> bytes | None:
    """Return the machine code in a file, None if there is none or it is damaged."""
    try:
        content = file.read_bytes()
    except OSError:
        return None
    digest, code = content[:DIGEST_SIZE], content[DIGEST_SIZE:]
    return code if digest == _digest(code) else None


def _compile(name: Name, channels: int, bits: int) -> bytes:
    """Return an object file with the kernel as its only symbol."""
    import llvmlite.binding as llvm
    import numpy as np
    from numba import cfunc, types
    from numba.core.registry import cpu_target

    from memotr.models.kernels import numba_kernels

    pointer = types.CPointer
    kinds = {"F": pointer(types.Float(f"float{bits}")), "I": pointer(types.int32), "n": types.intp}  # type: ignore[no-untyped-call]
    signature = types.void(*(kinds[kind] for kind in ARGUMENTS[name]))
    kernel = getattr(numba_kernels, name)(channels, getattr(np, f"float{bits}"))
    compiled = cfunc(signature, error_model="numpy")(kernel)

    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    module = llvm.parse_assembly(compiled.inspect_llvm())
    for function in module.functions:
        if not function.is_declaration and function.name != compiled.native_name:
            function.linkage = "internal"
    module.get_function(compiled.native_name).name = SYMBOL
    triple, processor, features = cpu_target.target_context.codegen().magic_tuple()
    machine = llvm.Target.from_triple(triple).create_target_machine(
        cpu=processor, features=features, opt=3, reloc="default", codemodel="jitdefault", jit=True
    )
    # With only one entry, this removes the branches for errors and what they call in Numba and Python.
    passes = llvm.create_pass_builder(machine, llvm.create_pipeline_tuning_options(speed_level=3))
    passes.getModulePassManager().run(module, passes)
    missing = [f.name for f in module.functions if f.is_declaration and not f.name.startswith("llvm.")]
    if missing:  # LLVM would end the process
        raise RuntimeError(f"Numba's code needs {', '.join(missing)}")
    code: bytes = machine.emit_object(module)
    return code


def _link(code: bytes, arguments: str) -> Callable[..., None]:
    """Load an object file into the process and return its function."""
    import llvmlite.binding as llvm

    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    machine = llvm.Target.from_default_triple().create_target_machine(codemodel="jitdefault", jit=True)
    engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), machine)
    engine.add_object_file(llvm.ObjectFileRef.from_data(code))
    engine.finalize_object()
    kinds = (ctypes.c_ssize_t if kind == "n" else ctypes.c_void_p for kind in arguments)
    function = ctypes.CFUNCTYPE(None, *kinds)(engine.get_function_address(SYMBOL))
    function.engine = engine  # type: ignore[attr-defined]  # owns the memory of the code
    return function
