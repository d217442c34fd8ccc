"""The compiled passes of `summtune.work.cpu.kernels` (compiled_passes.cpp): one pass over the tensors instead of many.

A process that finds no library in summtune's cache compiles one for its processor, in about a second, and stores it
there. It runs on torch's threads: it is linked with torch's own OpenMP library.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import os
import platform
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch

from summtune.base.cache import cache_folder
from summtune.base.files import write_bytes
from summtune.base.hashing import hash_of
from summtune.machine.compiling import compiler
from summtune.work.cpu.passes import Drop

_SOURCE = Path(__file__).with_suffix(".cpp")
_FLAGS = (
    *("-std=c++17", "-O3", "-march=native", "-fopenmp", "-shared", "-fPIC"),
    *("-fno-math-errno", "-fno-trapping-math"),  # otherwise conditions are not vectorized
    # On processors with 512-bit vectors gcc would use 256 bits. No effect on others.
    *(["-mprefer-vector-width=512"] if platform.machine() == "x86_64" else []),
)
_BITS = 24  # kBits
_ROWS = 64  # rows that are summed together, for any number of threads
_NAMES = {torch.float32: "f32", torch.bfloat16: "bf16"}
_SECONDS = 120.0  # after which a compiler counts as hanging


def why_not() -> str | None:
    """Return why there are no compiled passes; None if there are."""
    found = _library()
    return found if isinstance(found, str) else None


def can_take(*dtypes: torch.dtype) -> bool:
    """Return whether there are compiled passes for these types."""
    return all(dtype in _NAMES for dtype in dtypes) and why_not() is None


@functools.lru_cache(1)
def _library() -> ctypes.CDLL | str:
    """Return the compiled passes, or why there are none."""
    if sys.platform != "linux":
        return f"only for Linux, not for {sys.platform}"
    command = compiler()
    if command is None:
        return f"no C++ compiler ({os.environ.get('CXX') or 'c++'}); install g++"
    try:
        library = _load([*command, *_FLAGS])
    except subprocess.CalledProcessError as error:
        return (str(error.stderr).strip().splitlines() or [f"the compiler ended with code {error.returncode}"])[0]
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    return library if _has_threads_of_torch(library) else "another OpenMP library than torch's; use g++"


def _load(command: list[str]) -> ctypes.CDLL:
    """Load the library from the cache, or compile it."""
    name = f"passes-{_key(command)}.so"
    kept: Path | None = None
    with _folder() as folder:
        here = Path(folder) / name
        with contextlib.suppress(OSError, RuntimeError):  # missing, damaged, or no home folder
            kept = cache_folder("compiled") / name
            here.write_bytes(_read_own(kept))
            return ctypes.CDLL(str(here))
        words = [*command, str(_SOURCE), "-Wl,--as-needed", *_openmp(), "-o", str(here)]
        subprocess.run(words, check=True, capture_output=True, text=True, timeout=_SECONDS)
        library = ctypes.CDLL(str(here))
        with contextlib.suppress(OSError):  # not writable, or full
            if kept is not None:
                write_bytes(kept, here.read_bytes())
                kept.chmod(0o600)
        return library


def _folder() -> tempfile.TemporaryDirectory[str]:
    """Return a folder for this process: in the cache, because some machines do not run code in /tmp."""
    with contextlib.suppress(OSError, RuntimeError):
        cache = cache_folder("compiled")
        cache.mkdir(parents=True, exist_ok=True)
        return tempfile.TemporaryDirectory(dir=cache, prefix=".")
    return tempfile.TemporaryDirectory()


def _read_own(path: Path) -> bytes:
    """Return the content of a file that only this user can have written: it is code that will run.

    Raises:
        OSError: the file is missing, or others may have written it.
    """
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW), "rb") as file:
        stat = os.fstat(file.fileno())
        if stat.st_uid != os.getuid() or stat.st_mode & 0o022:
            raise PermissionError(f"others may have written it (got {path})")
        return file.read()


def _key(command: list[str]) -> str:
    """Return a hash of all that determines the code, and of the user: machines may share a home, users a cache."""
    info = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    processor = re.findall(r"^(?:model name|flags|Features|CPU part)\s*:.*$", info, re.MULTILINE)
    source = _SOURCE.read_text(encoding="utf-8")
    machine = [platform.machine(), sorted(set(processor)), os.getuid()]
    return hash_of([source, command, machine, torch.__version__, _openmp()])[:32]


def _openmp() -> list[str]:
    """Return the OpenMP library that torch has loaded, its own or the system's, for linking.

    Another one, such as that of sentencepiece, would start separate threads that compete with torch's.
    """
    maps = Path("/proc/self/maps").read_text(encoding="utf-8", errors="replace")
    paths = (Path(words[5]) for words in (line.split(maxsplit=5) for line in maps.splitlines()) if len(words) == 6)
    loaded = sorted({path for path in paths if re.match(r"lib[gi]?omp[^a-z]", path.name)})
    torch_folder = Path(torch.__file__).resolve().parent
    own = [path for path in loaded if path.parent in (torch_folder / "lib", torch_folder.with_name("torch.libs"))]
    return [str(path) for path in own or [path for path in loaded if path.parent.suffix != ".libs"]][:1]


def _has_threads_of_torch(library: ctypes.CDLL) -> bool:
    """Return whether the compiled passes call the OpenMP library that torch has loaded."""

    def place(of: ctypes.CDLL) -> int | None:
        return ctypes.cast(of.omp_get_max_threads, ctypes.c_void_p).value

    return all(place(ctypes.CDLL(path)) == place(library) for path in _openmp())


def _call(name: str, types: tuple[torch.dtype, ...], *arguments: torch.Tensor | float | None) -> None:
    function = getattr(_library(), "_".join([name, *(_NAMES[dtype] for dtype in types)]))
    function.restype = None
    function(*(_as_c(one) for one in arguments))


def _as_c(argument: torch.Tensor | float | None) -> Any:
    if argument is None:
        return None
    if isinstance(argument, torch.Tensor):
        assert argument.is_contiguous()
        return ctypes.c_void_p(argument.data_ptr())
    return ctypes.c_int64(argument) if isinstance(argument, int) else ctypes.c_float(argument)


def _fp32(*shape: int) -> torch.Tensor:
    return torch.empty(shape, dtype=torch.float32)


def _check_alike(first: torch.Tensor, *others: torch.Tensor) -> None:
    assert all(one.shape == first.shape and one.dtype == first.dtype for one in others)


def _dropped(drop: Drop | None) -> tuple[int, int, float]:
    return (0, 0, 1.0) if drop is None else (drop.seed, *drop.rounded(_BITS))


def dropout(values: torch.Tensor, drop: Drop, dtype: torch.dtype) -> torch.Tensor:
    """As `Passes.dropout`."""
    values = values.contiguous()
    result = torch.empty_like(values, dtype=dtype)
    _call("dropout", (values.dtype, dtype), values, result, values.numel(), *_dropped(drop))
    return result


def rms_norm(
    values: torch.Tensor, weight: torch.Tensor, epsilon: float, dtype: torch.dtype
) -> tuple[torch.Tensor, torch.Tensor]:
    """As `Passes.rms_norm`."""
    values = values.contiguous()
    features = values.shape[-1]
    rows = values.numel() // features
    assert weight.shape == (features,)
    result, inverse = torch.empty_like(values, dtype=dtype), _fp32(*values.shape[:-1], 1)
    shape = rows, features, float(epsilon)
    _call("rms_norm", (values.dtype, dtype), values, weight.float().contiguous(), result, inverse, *shape)
    return result, inverse


def rms_norm_gradient(
    gradient: torch.Tensor, values: torch.Tensor, weight: torch.Tensor, inverse: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """As `Passes.rms_norm_gradient`."""
    values, gradient = values.contiguous(), gradient.contiguous()
    rows, features = inverse.numel(), values.shape[-1]
    assert gradient.shape == values.shape
    result, of_weight = torch.empty_like(values), _fp32(-(-rows // _ROWS), features)
    wide = weight.float().contiguous()
    places = values, gradient, wide, inverse, result, of_weight
    _call("rms_norm_gradient", (values.dtype, gradient.dtype), *places, rows, features, _ROWS)
    return result, of_weight.sum(0).to(weight.dtype)


def softmax(
    scores: torch.Tensor, bias: torch.Tensor | None, mask: torch.Tensor | None, drop: Drop | None
) -> tuple[torch.Tensor, torch.Tensor]:
    """As `Passes.softmax`."""
    scores = scores.contiguous()
    batch, _, queries, keys = scores.shape
    assert bias is None or bias.shape == (1, *scores.shape[1:])
    bias = None if bias is None else bias.float().contiguous()
    mask = None if mask is None else mask.float()[:, 0].expand(batch, -1, keys).contiguous()
    assert mask is None or mask.shape[1] in (1, queries)
    # From one dialogue to the next, and from one query to the next: a mask may be the same for all queries.
    steps = (0, 0) if mask is None else (mask.shape[1] * keys, keys if mask.shape[1] == queries else 0)
    shares, used = torch.empty_like(scores), None if drop is None else torch.empty_like(scores)
    places = scores, bias, mask, shares, used
    _call("softmax", (scores.dtype,), *places, *scores.shape, *steps, *_dropped(drop))
    return shares, shares if used is None else used


def softmax_gradient(
    gradient: torch.Tensor, shares: torch.Tensor, drop: Drop | None, biased: bool
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
    """As `Passes.softmax_gradient`."""
    gradient = gradient.contiguous()
    batch, heads, queries, keys = shares.shape
    _check_alike(gradient, shares)
    of_scores, used = torch.empty_like(shares), torch.empty_like(shares)
    of_bias = _fp32(1, heads, queries, keys) if biased else None
    *_, scale = _dropped(drop)
    places = gradient, shares, of_scores, used, of_bias
    _call("softmax_gradient", (shares.dtype,), *places, batch, heads * queries, keys, scale)
    return of_scores, used, of_bias


def decode_attention(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, bias: torch.Tensor | None, mask: torch.Tensor | None
) -> torch.Tensor:
    """As `Passes.decode_attention`."""
    query, key, value = query.contiguous(), key.contiguous(), value.contiguous()
    rows, heads, keys, features = key.shape
    _check_alike(key, value)
    assert query.shape == (rows, heads, 1, features)
    assert query.dtype == key.dtype
    assert bias is None or bias.shape == (1, heads, 1, keys)
    assert mask is None or mask.shape in ((rows, 1, 1, keys), (1, 1, 1, keys))
    bias, mask = (None if one is None else one.float().contiguous() for one in (bias, mask))
    of_row = keys if mask is not None and len(mask) == rows else 0
    result = torch.empty_like(query)
    _call("decode_attention", (key.dtype,), query, key, value, bias, mask, result, rows, heads, keys, features, of_row)
    return result


def gated_gelu(gate: torch.Tensor, linear: torch.Tensor, drop: Drop | None) -> torch.Tensor:
    """As `Passes.gated_gelu`."""
    gate, linear = gate.contiguous(), linear.contiguous()
    _check_alike(gate, linear)
    result = torch.empty_like(gate)
    _call("gated_gelu", (gate.dtype,), gate, linear, result, gate.numel(), *_dropped(drop))
    return result


def gated_gelu_gradient(
    gradient: torch.Tensor, gate: torch.Tensor, linear: torch.Tensor, drop: Drop | None
) -> tuple[torch.Tensor, torch.Tensor]:
    """As `Passes.gated_gelu_gradient`."""
    gradient, gate, linear = gradient.contiguous(), gate.contiguous(), linear.contiguous()
    _check_alike(gradient, gate, linear)
    of_gate, of_linear = torch.empty_like(gate), torch.empty_like(linear)
    shape = gate.numel(), *_dropped(drop)
    _call("gated_gelu_gradient", (gate.dtype,), gradient, gate, linear, of_gate, of_linear, *shape)
    return of_gate, of_linear


def cross_entropy(
    logits: torch.Tensor, targets: torch.Tensor, differentiate: bool
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """As `Passes.cross_entropy`."""
    logits, targets = logits.contiguous(), targets.contiguous()
    assert targets.dtype == torch.int64
    assert targets.shape == logits.shape[:1]
    if len(targets) and not 0 <= int(targets.min()) <= int(targets.max()) < logits.shape[1]:
        raise IndexError(f"a target is not in the vocabulary of {logits.shape[1]} tokens (got {targets.max()})")
    losses, gradient = _fp32(len(logits)), torch.empty_like(logits) if differentiate else None
    _call("cross_entropy", (logits.dtype,), logits, targets, losses, gradient, *logits.shape)
    return losses.sum(), gradient
