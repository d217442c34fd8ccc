"""The passes of `summtune.work.cpu_kernels` as compiled_passes.cpp has them: one pass over the tensors instead of many.

The first process that needs them compiles them for its processor, in about a second, and keeps them in summtune's
cache. They run on the threads of torch: its own OpenMP library is linked.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import platform
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch

from summtune.cache import cache_folder
from summtune.compiling import compiler_path
from summtune.files import replacing
from summtune.identity import hash_of
from summtune.work.passes import Drop

_SOURCE = Path(__file__).with_suffix(".cpp")
_FLAGS = (
    *("-std=c++17", "-O3", "-march=native", "-fopenmp", "-shared", "-fPIC"),
    *("-fno-math-errno", "-fno-trapping-math"),  # otherwise conditions are not vectorized
    # Where there are vectors of 512 bits gcc would take 256. No effect elsewhere.
    *(["-mprefer-vector-width=512"] if platform.machine() == "x86_64" else []),
)
_BITS = 24
_NAMES = {torch.float32: "f32", torch.bfloat16: "bf16"}
_SECONDS = 120.0  # after which a compiler is taken to hang


def why_not() -> str | None:
    """Return why nothing is compiled here, None where it is."""
    found = _library()
    return found if isinstance(found, str) else None


def can_take(*dtypes: torch.dtype) -> bool:
    """Return whether there are compiled passes, and for these types."""
    return all(dtype in _NAMES for dtype in dtypes) and why_not() is None


@functools.lru_cache(1)
def _library() -> ctypes.CDLL | str:
    """Return the compiled passes, or why there are none."""
    compiler = compiler_path()
    if sys.platform != "linux":
        return f"they are for Linux, not for {sys.platform}"
    if compiler is None:
        return "no C++ compiler; install g++"
    try:
        return _load(compiler)
    except (OSError, subprocess.SubprocessError) as error:
        lines = (getattr(error, "stderr", None) or str(error)).strip().splitlines()
        return lines[0] if lines else type(error).__name__


def _load(compiler: str) -> ctypes.CDLL:
    name = f"passes-{_key(compiler)}.so"
    with contextlib.suppress(OSError, RuntimeError):  # not writable, full, damaged, or a user without a home
        path = cache_folder("compiled") / name
        if not path.is_file():
            _compile(compiler, path)
        return ctypes.CDLL(str(path))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        _compile(compiler, path)
        return ctypes.CDLL(str(path))


def _key(compiler: str) -> str:
    """Hash what decides the code: machines of other kinds may share a home."""
    info = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    processor = re.findall(r"^(?:model name|flags|Features|CPU part)\s*:.*$", info, re.MULTILINE)
    decided_by = [_SOURCE.read_text(encoding="utf-8"), _FLAGS, platform.machine(), sorted(set(processor))]
    return hash_of([*decided_by, compiler, torch.__version__, _openmp()])[:32]


def _compile(compiler: str, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        built = Path(folder) / path.name
        # Another OpenMP library would have threads of its own, which wait for work where torch's want to work.
        command = [compiler, *_FLAGS, str(_SOURCE), "-Wl,--as-needed", *_openmp(), "-o", str(built)]
        subprocess.run(command, check=True, capture_output=True, text=True, timeout=_SECONDS)
        with replacing(path) as file:
            file.write(built.read_bytes())


def _openmp() -> list[str]:
    """Return the OpenMP library that torch has loaded: its own, or the system's; not that of another package."""
    maps = Path("/proc/self/maps").read_text(encoding="utf-8")
    loaded = sorted(set(re.findall(r"/\S*/lib[gi]?omp[^/\s]*\.so[^/\s]*", maps)))
    own = [path for path in loaded if path.startswith(str(Path(torch.__file__).parent))]
    return (own or [path for path in loaded if ".libs/" not in path])[:1]


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


def _dropped(drop: Drop | None) -> tuple[int, int, float]:
    return (0, 0, 1.0) if drop is None else (drop.seed, *drop.rounded(_BITS))


def dropout(values: torch.Tensor, drop: Drop, dtype: torch.dtype) -> torch.Tensor:
    """As `summtune.work.torch_passes.dropout`."""
    values = values.contiguous()
    result = torch.empty_like(values, dtype=dtype)
    _call("dropout", (values.dtype, dtype), values, result, values.numel(), *_dropped(drop))
    return result


def rms_norm(
    values: torch.Tensor, weight: torch.Tensor, epsilon: float, dtype: torch.dtype
) -> tuple[torch.Tensor, torch.Tensor]:
    """As `summtune.work.torch_passes.rms_norm`."""
    values = values.contiguous()
    features = values.shape[-1]
    rows = values.numel() // features
    result, inverse = torch.empty_like(values, dtype=dtype), torch.empty(*values.shape[:-1], 1)
    shape = rows, features, float(epsilon)
    _call("rms_norm", (values.dtype, dtype), values, weight.float().contiguous(), result, inverse, *shape)
    return result, inverse


def rms_norm_gradient(
    gradient: torch.Tensor, values: torch.Tensor, weight: torch.Tensor, inverse: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """As `summtune.work.torch_passes.rms_norm_gradient`."""
    values, gradient = values.contiguous(), gradient.contiguous()
    rows, features = inverse.numel(), values.shape[-1]
    result, of_weight = torch.empty_like(values), torch.empty(-(-rows // 64), features)
    wide = weight.float().contiguous()
    types = values.dtype, gradient.dtype
    _call("rms_norm_gradient", types, values, gradient, wide, inverse, result, of_weight, rows, features)
    return result, of_weight.sum(0).to(weight.dtype)


def softmax(
    scores: torch.Tensor, bias: torch.Tensor | None, mask: torch.Tensor | None, drop: Drop | None
) -> tuple[torch.Tensor, torch.Tensor]:
    """As `summtune.work.torch_passes.softmax`."""
    scores = scores.contiguous()
    batch, _, queries, keys = scores.shape
    bias = None if bias is None else bias.float().contiguous()
    mask = None if mask is None else mask.float()[:, 0].expand(batch, -1, keys).contiguous()
    # From one dialogue to the next, and from one query to the next: a mask may be the same for all queries.
    steps = (0, 0) if mask is None else (mask.shape[1] * keys, keys if mask.shape[1] == queries else 0)
    shares, used = torch.empty_like(scores), None if drop is None else torch.empty_like(scores)
    places = scores, bias, mask, shares, used
    _call("softmax", (scores.dtype,), *places, *scores.shape, *steps, *_dropped(drop))
    return shares, shares if used is None else used


def softmax_gradient(
    gradient: torch.Tensor, shares: torch.Tensor, drop: Drop | None, biased: bool
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
    """As `summtune.work.torch_passes.softmax_gradient`."""
    gradient = gradient.contiguous()
    batch, heads, queries, keys = shares.shape
    of_scores, used = torch.empty_like(shares), torch.empty_like(shares)
    of_bias = torch.empty(1, heads, queries, keys) if biased else None
    *_, scale = _dropped(drop)
    places = gradient, shares, of_scores, used, of_bias
    _call("softmax_gradient", (shares.dtype,), *places, batch, heads * queries, keys, scale)
    return of_scores, used, of_bias


def gated_gelu(gate: torch.Tensor, linear: torch.Tensor, drop: Drop | None) -> torch.Tensor:
    """As `summtune.work.torch_passes.gated_gelu`."""
    gate, linear = gate.contiguous(), linear.contiguous()
    result = torch.empty_like(gate)
    _call("gated_gelu", (gate.dtype,), gate, linear, result, gate.numel(), *_dropped(drop))
    return result


def gated_gelu_gradient(
    gradient: torch.Tensor, gate: torch.Tensor, linear: torch.Tensor, drop: Drop | None
) -> tuple[torch.Tensor, torch.Tensor]:
    """As `summtune.work.torch_passes.gated_gelu_gradient`."""
    gradient, gate, linear = gradient.contiguous(), gate.contiguous(), linear.contiguous()
    of_gate, of_linear = torch.empty_like(gate), torch.empty_like(linear)
    shape = gate.numel(), *_dropped(drop)
    _call("gated_gelu_gradient", (gate.dtype,), gradient, gate, linear, of_gate, of_linear, *shape)
    return of_gate, of_linear


def cross_entropy(
    logits: torch.Tensor, targets: torch.Tensor, differentiate: bool
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """As `summtune.work.torch_passes.cross_entropy`."""
    logits, targets = logits.contiguous(), targets.contiguous()
    losses, gradient = torch.empty(len(logits)), torch.empty_like(logits) if differentiate else None
    _call("cross_entropy", (logits.dtype,), logits, targets, losses, gradient, *logits.shape)
    return losses.sum(), gradient
