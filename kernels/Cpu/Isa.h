//===- Isa.h - one source, several instruction sets -------------*- C++ -*-===//
//
// Every file of the arithmetic is compiled once per instruction set, into a
// namespace of its own. Code between MOE_ISA_BEGIN and MOE_ISA_END may use the
// instructions of that set; what is included from elsewhere lies outside, so
// that no inline function of the standard library is emitted with instructions
// that the machine may lack and then shared by the linker.
//
// The three builds give the same bits: products are fused explicitly, the
// compiler may not contract or reassociate, and no order of summation depends
// on the width of a register.
//
//===----------------------------------------------------------------------===//
#pragma once

#include "kernels/Kernels.h"

/// Values of MOE_ISA, which the build defines per object file.
#define MOE_ISA_PORTABLE 0
#define MOE_ISA_AVX2 1
#define MOE_ISA_AVX512 2

namespace moe::kernels {

enum class Isa : uint8_t {
  portable = MOE_ISA_PORTABLE,
  avx2 = MOE_ISA_AVX2,
  avx512 = MOE_ISA_AVX512
};

/// Whether this build has the instruction set and this machine runs it.
bool supports(Isa isa);

/// The table of one instruction set; `supports(isa)` must hold. For tests and
/// benchmarks: everyone else takes cpuKernels().
const KernelTable &cpuKernels(Isa isa);

namespace portable {
const KernelTable &table();
} // namespace portable
namespace avx2 {
const KernelTable &table();
} // namespace avx2
namespace avx512 {
const KernelTable &table();
} // namespace avx512

} // namespace moe::kernels

#ifdef MOE_ISA

#if MOE_ISA == MOE_ISA_AVX512
#define MOE_ISA_NAME avx512
#define MOE_ISA_TARGET "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma"
#elif MOE_ISA == MOE_ISA_AVX2
#define MOE_ISA_NAME avx2
#define MOE_ISA_TARGET "avx2,fma"
#else
#define MOE_ISA_NAME portable
#endif

#define MOE_PRAGMA(text) _Pragma(#text)
#if !defined(MOE_ISA_TARGET)
#define MOE_ISA_BEGIN
#define MOE_ISA_END
#elif defined(__clang__)
#define MOE_ISA_BEGIN_FOR(set)                                                 \
  MOE_PRAGMA(                                                                  \
      clang attribute push(__attribute__((target(set))), apply_to = function))
#define MOE_ISA_BEGIN MOE_ISA_BEGIN_FOR(MOE_ISA_TARGET)
#define MOE_ISA_END _Pragma("clang attribute pop")
#else
#define MOE_ISA_BEGIN_FOR(set)                                                 \
  _Pragma("GCC push_options") MOE_PRAGMA(GCC target(set))
#define MOE_ISA_BEGIN MOE_ISA_BEGIN_FOR(MOE_ISA_TARGET)
#define MOE_ISA_END _Pragma("GCC pop_options")
#endif

#endif // MOE_ISA
