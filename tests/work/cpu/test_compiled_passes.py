"""The compiled passes compute the same as torch's operations, and report why if they cannot be compiled."""

import ctypes
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from summtune.machine.compiling import compiler
from summtune.work.cpu import compiled_passes, torch_passes
from summtune.work.cpu import kernels as cpu_kernels
from summtune.work.cpu.passes import Drop

needs_compiler = pytest.mark.skipif(sys.platform != "linux" or compiler() is None, reason="without a C++ compiler")
TYPES = [torch.float32, torch.bfloat16]
# In bf16 both round to 8 bits, and here and there a sum in another order ends on the other side.
CLOSE = {torch.float32: {"rtol": 2e-5, "atol": 2e-6}, torch.bfloat16: {"rtol": 1e-2, "atol": 1e-3}}
MASK = torch.zeros(5, 1, 1, 67)
MASK[3, ..., 20:] = torch.finfo(torch.float32).min


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(4)


@needs_compiler
def test_passes_are_compiled_if_there_is_a_compiler():
    assert compiled_passes.why_not() is None


def check_like(name, *arguments, dtype):
    ours, expected = getattr(compiled_passes, name)(*arguments), getattr(torch_passes, name)(*arguments)
    if isinstance(ours, torch.Tensor):
        ours, expected = (ours,), (expected,)
    for got, wanted in zip(ours, expected, strict=True):
        if wanted is None:
            assert got is None
        else:
            torch.testing.assert_close(got, wanted, **CLOSE[dtype])


@needs_compiler
@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("rows", [1, 3, 64, 130])
def test_the_compiled_norm_and_its_gradients_equal_torchs(dtype, rows):
    values, weight = torch.randn(rows, 2, 77).to(dtype) * 3, torch.rand(77) + 0.5
    for wanted in TYPES:
        check_like("rms_norm", values, weight, 1e-6, wanted, dtype=torch.bfloat16 if dtype != wanted else dtype)
    inverse = torch_passes.rms_norm(values, weight, 1e-6, dtype)[1]
    gradient = torch.randn(rows, 2, 77).to(dtype)
    check_like("rms_norm_gradient", gradient, values, weight, inverse, dtype=dtype)


@needs_compiler
@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("queries", [1, 67])
@pytest.mark.parametrize("mask", [None, MASK, MASK.expand(5, 1, 67, 67), MASK[3:4]], ids=["none", "row", "full", "one"])
@pytest.mark.parametrize("biased", [True, False])
def test_the_compiled_softmax_and_its_gradients_equal_torchs(dtype, queries, mask, biased):
    if mask is not None:
        mask = mask[:, :, :queries]
    scores = torch.randn(5, 3, queries, 67).mul_(4).to(dtype)
    check_like("softmax", scores, torch.randn(1, 3, queries, 67) if biased else None, mask, None, dtype=dtype)
    shares = torch_passes.softmax(scores, None, mask, None)[0]
    check_like("softmax_gradient", torch.randn_like(scores), shares, None, biased, dtype=dtype)


@needs_compiler
@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("features", [8, 64, 67])
@pytest.mark.parametrize("mask", [None, MASK, MASK.flip(-1), MASK[3:4]], ids=["none", "right", "left", "one"])
@pytest.mark.parametrize("biased", [True, False])
def test_the_compiled_attention_of_a_new_token_equals_torchs(dtype, features, mask, biased):
    query, (key, value) = torch.randn(5, 3, 1, features).div(4).to(dtype), torch.randn(2, 5, 3, 67, features).to(dtype)
    bias = torch.randn(1, 3, 1, 67) if biased else None
    got = compiled_passes.decode_attention(query, key, value, bias, mask)
    # In fp32 from end to end, as it is computed inside; torch's own operations round scores and shares of bf16.
    wide = torch_passes.decode_attention(query.float(), key.float(), value.float(), bias, mask)
    torch.testing.assert_close(got.float(), wide, **CLOSE[dtype])


@needs_compiler
@pytest.mark.parametrize("dtype", TYPES)
def test_the_compiled_gradient_of_dropped_shares_equals_torchs(dtype):
    scores, drop = torch.randn(3, 2, 9, 11).to(dtype), Drop(8, 0.25)
    shares, used = compiled_passes.softmax(scores, None, None, drop)
    torch.testing.assert_close(shares.abs(), torch_passes.softmax(scores, None, None, None)[0], **CLOSE[dtype])
    assert 0.1 < (shares < 0).float().mean() < 0.4
    torch.testing.assert_close(used, torch.where(shares > 0, shares * 4 / 3, 0), rtol=1e-2, atol=1e-4)
    check_like("softmax_gradient", torch.randn_like(scores), shares, drop, True, dtype=dtype)


@needs_compiler
@pytest.mark.parametrize("dtype", TYPES)
def test_the_compiled_gated_gelu_and_its_gradients_equal_torchs(dtype):
    gate = torch.cat([torch.randn(30_000) * 3, torch.tensor([-200.0, -80.0, 0.0, 80.0, 200.0])]).to(dtype)
    linear, gradient = torch.randn_like(gate), torch.randn_like(gate)
    close = CLOSE[torch.bfloat16] if dtype == torch.bfloat16 else {"rtol": 1e-4, "atol": 1e-6}
    torch.testing.assert_close(
        compiled_passes.gated_gelu(gate, linear, None), torch_passes.gated_gelu(gate, linear, None), **close
    )
    exact = torch_passes.gated_gelu_gradient(gradient.double(), gate.double(), linear.double(), None)
    for got, wanted in zip(compiled_passes.gated_gelu_gradient(gradient, gate, linear, None), exact, strict=True):
        torch.testing.assert_close(got.double(), wanted, rtol=1e-2 if dtype == torch.bfloat16 else 1e-4, atol=1e-5)


@needs_compiler
@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("differentiate", [True, False])
def test_the_compiled_cross_entropy_and_its_gradient_equal_torchs(dtype, differentiate):
    logits = torch.randn(70, 1001).mul_(6).to(dtype)
    check_like("cross_entropy", logits, torch.randint(0, 1001, (70,)), differentiate, dtype=dtype)


@needs_compiler
@pytest.mark.parametrize("probability", [0.01, 0.1, 0.5, 0.97])
def test_the_share_of_dropped_elements_is_the_probability(probability):
    result = compiled_passes.dropout(torch.ones(200_003), Drop(5, probability), torch.float32)
    deviation = (probability * (1 - probability) / len(result)) ** 0.5
    assert (result == 0).double().mean().item() == pytest.approx(probability, abs=4 * deviation)
    torch.testing.assert_close(result[result > 0], torch.full_like(result[result > 0], 1 / (1 - probability)))


@needs_compiler
def test_neighbours_and_seeds_are_dropped_independently():
    masks = [
        compiled_passes.dropout(torch.ones(400_000), Drop(seed, 0.1), torch.float32) == 0 for seed in (1, 2, 2**40)
    ]
    deviation = (0.01 * 0.99 / len(masks[0])) ** 0.5
    pairs = [(masks[0][:-distance], masks[0][distance:]) for distance in (1, 2, 3, 4, 64, 211, 1024)]
    for one, other in [*pairs, (masks[0], masks[1]), (masks[0], masks[2])]:
        assert (one & other).double().mean().item() == pytest.approx(0.01, abs=4 * deviation)


@needs_compiler
@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_inf_and_nan_stay_inf_and_nan(dtype, bad):
    values = torch.randn(2, 2, 3, 40).to(dtype)
    values[1, 1, 2, 3] = bad
    flat = values.view(12, 40)
    found = [
        compiled_passes.softmax(values, None, None, Drop(1, 0.1))[0].view(12, 40)[11],
        compiled_passes.rms_norm(flat, torch.ones(40), 1e-6, dtype)[0][11],
        compiled_passes.gated_gelu(flat, torch.ones_like(flat), None)[11],
        compiled_passes.cross_entropy(flat, torch.zeros(12, dtype=torch.long), True)[0][None],
    ]
    assert [bool(one.isfinite().all()) for one in found] == [False] * 4
    kept = compiled_passes.dropout(values, Drop(1, 0.01), torch.bfloat16)
    assert not kept[1, 1, 2, 3].isfinite()


@needs_compiler
def test_rounding_equals_torchs():
    values = torch.cat([torch.randn(10_000), torch.tensor([1.00390625, 1.01171875, -1.00390625, 3.4e38, 1e-40])])
    kept = compiled_passes.dropout(values, Drop(1, 1e-9), torch.bfloat16)
    assert torch.equal(kept, values.bfloat16())


@needs_compiler
def test_results_do_not_depend_on_the_number_of_threads():
    values, weight = torch.randn(300, 512), torch.rand(512)
    scores = torch.randn(4, 3, 50, 60)
    gate, linear, gradient = torch.randn(3, 40_007)  # more than one thread takes, and no whole number of vectors
    logits, targets = torch.randn(33, 1001), torch.randint(0, 1001, (33,))

    def compute():
        normed, inverse = compiled_passes.rms_norm(values, weight, 1e-6, torch.float32)
        shares, used = compiled_passes.softmax(scores, None, None, Drop(2, 0.1))
        return [
            *compiled_passes.rms_norm_gradient(normed, values, weight, inverse),
            *compiled_passes.softmax_gradient(used, shares, Drop(2, 0.1), True),
            compiled_passes.dropout(gate, Drop(3, 0.1), torch.bfloat16),
            compiled_passes.gated_gelu(gate, linear, Drop(4, 0.1)),
            *compiled_passes.gated_gelu_gradient(gradient, gate, linear, Drop(4, 0.1)),
            *compiled_passes.cross_entropy(logits, targets, True),
        ]

    threads = torch.get_num_threads()
    try:
        results = []
        for number in (1, 2, 3):
            torch.set_num_threads(number)
            results.append(compute())
    finally:
        torch.set_num_threads(threads)
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))


@needs_compiler
def test_compiled_passes_use_torchs_threads():
    threads = torch.get_num_threads()
    try:
        for number in (3, 1):
            torch.set_num_threads(number)
            assert compiled_passes._library().omp_get_max_threads() == number
    finally:
        torch.set_num_threads(threads)


@needs_compiler
def test_other_types_use_torchs_passes():
    assert cpu_kernels.passes_for(torch.float16) is torch_passes
    assert cpu_kernels.passes_for(torch.float32, torch.float16) is torch_passes
    assert cpu_kernels.passes_for(torch.float32, torch.bfloat16) is compiled_passes


@pytest.fixture
def fresh_cache(monkeypatch, tmp_path):
    """Begin without a library, with an empty cache; return its folder."""
    compiled_passes._library.cache_clear()
    monkeypatch.setenv("SUMMTUNE_CACHE", str(tmp_path / "cache"))
    yield tmp_path / "cache" / "compiled"
    compiled_passes._library.cache_clear()


@needs_compiler
def test_the_library_is_compiled_once(fresh_cache, monkeypatch):
    assert compiled_passes.why_not() is None
    (kept,) = fresh_cache.iterdir()
    compiled_passes._library.cache_clear()
    monkeypatch.setattr(subprocess, "run", None)
    assert compiled_passes.why_not() is None
    assert [kept] == list(fresh_cache.iterdir())


@needs_compiler
def test_another_processor_has_another_library(monkeypatch):
    here = compiled_passes._key(["c++"])
    assert compiled_passes._key(["c++"]) == here
    assert compiled_passes._key(["c++", "-O1"]) != here
    read_text = Path.read_text

    def of_another(path, *arguments, **named):
        return "flags : other\n" if path == Path("/proc/cpuinfo") else read_text(path, *arguments, **named)

    monkeypatch.setattr(Path, "read_text", of_another)
    assert compiled_passes._key(["c++"]) != here


@needs_compiler
def test_a_damaged_library_is_compiled_again(fresh_cache):
    assert compiled_passes.why_not() is None
    (kept,) = fresh_cache.iterdir()
    content = kept.read_bytes()
    kept.write_bytes(b"half")
    compiled_passes._library.cache_clear()
    assert compiled_passes.why_not() is None
    assert len(kept.read_bytes()) == len(content)


@needs_compiler
def test_code_that_others_may_have_written_is_not_run(fresh_cache, tmp_path, monkeypatch):
    assert compiled_passes.why_not() is None
    (kept,) = fresh_cache.iterdir()
    assert compiled_passes._read_own(kept) == kept.read_bytes()
    kept.chmod(0o660)
    with pytest.raises(PermissionError, match="others may have written it"):
        compiled_passes._read_own(kept)
    kept.chmod(0o600)
    (tmp_path / "link").symlink_to(kept)
    with pytest.raises(OSError, match="symbolic links"):
        compiled_passes._read_own(tmp_path / "link")
    monkeypatch.setattr(compiled_passes.os, "getuid", lambda: 4321)
    with pytest.raises(PermissionError, match="others may have written it"):
        compiled_passes._read_own(kept)


@needs_compiler
def test_without_a_cache_the_library_is_compiled_for_this_process(fresh_cache):
    fresh_cache.parent.write_text("not a folder")
    assert compiled_passes.why_not() is None
    assert isinstance(compiled_passes._library(), ctypes.CDLL)


@pytest.mark.parametrize(
    ("script", "seconds", "reason"),
    [
        ("echo 'fatal error: cstdint: No such file' >&2; exit 1", 60.0, "fatal error: cstdint: No such file"),
        ("exit 3", 60.0, "the compiler ended with code 3"),
        ("echo working >&2; exec sleep 60", 0.5, "timed out after"),
        (None, 60.0, "no C++ compiler ("),
    ],
)
@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere nothing is compiled")
def test_why_not_names_the_reason_that_nothing_is_compiled(fresh_cache, monkeypatch, tmp_path, script, seconds, reason):
    path = tmp_path / "compiler"
    if script is not None:
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)
    monkeypatch.setenv("CXX", str(path))
    monkeypatch.setattr(compiled_passes, "_SECONDS", seconds)
    assert reason in compiled_passes.why_not()
    assert cpu_kernels.passes_for(torch.float32) is torch_passes


def test_other_systems_have_no_compiled_passes(fresh_cache, monkeypatch):
    monkeypatch.setattr(compiled_passes.sys, "platform", "darwin")
    assert compiled_passes.why_not() == "only for Linux, not for darwin"


@needs_compiler
def test_a_library_with_a_separate_openmp_is_not_used(fresh_cache, monkeypatch):
    monkeypatch.setattr(compiled_passes, "_has_threads_of_torch", lambda _: False)
    assert compiled_passes.why_not() == "another OpenMP library than torch's; use g++"


@needs_compiler
@pytest.mark.parametrize("target", [-1, 7])
def test_a_target_outside_the_vocabulary_is_an_error(target):
    with pytest.raises(IndexError, match="not in the vocabulary of 7 tokens"):
        compiled_passes.cross_entropy(torch.zeros(2, 7), torch.tensor([0, target]), True)


@pytest.mark.parametrize(
    ("loaded", "taken"),
    [
        (["{torch}/lib/libgomp.so.1", "/x/sentencepiece.libs/libgomp-6a2.so.1.0.0", "/usr/lib/libgomp.so.1.0.0"], 0),
        (["/x/sentencepiece.libs/libgomp-6a2.so.1.0.0", "{torch}.libs/libgomp-a34.so.1"], 1),
        (["/x/a b/sentencepiece.libs/libgomp-6a2.so.1.0.0", "/usr/lib/libgomp.so.1.0.0"], 1),
        (["/x/sentencepiece.libs/libgomp-6a2.so.1.0.0", "/usr/lib/libgompx.so"], None),
    ],
)
def test_the_linked_openmp_library_is_torchs(loaded, taken, monkeypatch):
    places = [path.replace("{torch}", str(Path(torch.__file__).resolve().parent)) for path in loaded]
    maps = "".join(f"7f00-7f01 r-xp 00000000 fe:00 26723    {path}\n" for path in places) + "7f-80 rw-p 00 00:00 0 \n"
    monkeypatch.setattr(Path, "read_text", lambda *_, **__: maps)
    assert compiled_passes._openmp() == ([] if taken is None else [places[taken]])
