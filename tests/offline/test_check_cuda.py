"""The check of the CUDA kernels finds what it is for: each gate is broken once, by a kernel compiled to break it."""

import pytest

from tests.offline import check_cuda
from tests.offline.check_cuda import Function, compiled, complaints, read

COMPILER = check_cuda.nvcc()
needs_nvcc = pytest.mark.skipif(COMPILER is None, reason="no nvcc: pip install -r requirements/cuda.txt")
EXPECTED = [("loop_kernel", "Halves")]
HEAD = """
#include <cuda_fp16.h>
struct Halves {};
__device__ void product(float (&d)[4], unsigned a, unsigned b) {
  asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3},{%4,%4,%4,%4},{%5,%5},{%0,%1,%2,%3};"
               : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3]) : "r"(a), "r"(b));
}
"""
SOUND = "float d[4] = {}; product(d, n, n); p[threadIdx.x] = d[0] + d[3];"
BODIES = {
    SOUND: None,
    "p[threadIdx.x] = n;": "no matrix instruction is left",
    SOUND + "if (p[n] > 1) __trap();": "a trap",
    "if (n) { " + SOUND + ' } asm volatile("fence.acq_rel.gpu;"); p[n] += 1;': "first-level cache is given up",
    SOUND
    + """
      float v[200];
      for (int i = 0; i < 200; ++i) v[i] = p[i * n];
      __syncthreads();
      for (int i = 0; i < 200; ++i) p[i * n + 1] = v[i] * v[199 - i];
    """: "bytes of registers spilled",
}


@needs_nvcc
@pytest.mark.parametrize(("body", "wrong"), BODIES.items(), ids=[str(wrong) for wrong in BODIES.values()])
def test_each_gate(tmp_path, body, wrong):
    kernel = "template <class T> __global__ void __launch_bounds__(256) loop_kernel(float* p, unsigned n) {%s}\n"
    instance = "template __global__ void loop_kernel<Halves>(float*, unsigned);\n"
    unrolled = body.replace("for (", "\n#pragma unroll\nfor (")
    (source := tmp_path / "kernels.cu").write_text(HEAD + kernel % unrolled + instance)
    functions, error = compiled(source, "80", COMPILER, ["-maxrregcount=64"])
    assert error is None, error
    found = complaints(functions, EXPECTED)
    assert found == [] if wrong is None else len(found) == 1 and wrong in found[0], found


@needs_nvcc
def test_what_does_not_compile_says_so(tmp_path):
    (source := tmp_path / "kernels.cu").write_text("no such thing")
    functions, error = compiled(source, "80", COMPILER)
    assert not functions and "error" in error


def test_what_is_not_there_is_missed():
    assert complaints({}, EXPECTED) == ["loop_kernel of Halves: found 0 of them, expected one"]
    silent = {"_Z11loop_kernelI6HalvesEv": Function()}
    assert complaints(silent, EXPECTED) == ["loop_kernel of Halves: the compiler says nothing of it"]


def test_float32_has_no_matrix_instruction():
    said = "Compiling entry function '_Zstage_kernelFloats' for 'sm_80'\n0 bytes spill stores, 0 bytes spill loads\n"
    said += "Used 90 registers"
    sass = "Function : _Zstage_kernelFloats\n /*0010*/ @!P0 HMMA.16816.F32 R4 ;\n /*0020*/ FFMA R1, R2 ;\n"
    functions = read(said, sass)
    assert functions["_Zstage_kernelFloats"].instructions == {"HMMA.16816.F32": 1, "FFMA": 1}
    wrong = complaints(functions, [("stage_kernel", "Floats")])
    assert wrong == ["stage_kernel of Floats: 1 matrix instructions and 1 of float32, expected the latter alone"]
    assert not complaints(read(said, sass.replace("HMMA.16816.F32", "MOV")), [("stage_kernel", "Floats")])
    many = complaints(read(said.replace("90", "300"), sass.replace("HMMA", "MOV")), [("stage_kernel", "Floats")])
    assert many == ["stage_kernel of Floats: 300 registers in 256 threads are more than a multiprocessor has"]
