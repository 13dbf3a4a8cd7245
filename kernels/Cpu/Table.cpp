//===- Table.cpp - the choice of instruction set --------------------------===//

#include "kernels/Cpu/Isa.h"

namespace moe::kernels {

bool supports(Isa isa) {
  if (isa == Isa::portable)
    return true;
#ifdef MOE_KERNELS_X86
  __builtin_cpu_init();
  const bool avx2 =
      __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  if (isa == Isa::avx2)
    return avx2;
  return avx2 && __builtin_cpu_supports("avx512f") &&
         __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512dq") &&
         __builtin_cpu_supports("avx512vl");
#else
  return false;
#endif
}

const KernelTable &cpuKernels(Isa isa) {
  assert(supports(isa));
#ifdef MOE_KERNELS_X86
  if (isa == Isa::avx512)
    return avx512::table();
  if (isa == Isa::avx2)
    return avx2::table();
#endif
  static_cast<void>(isa);
  return portable::table();
}

const KernelTable &cpuKernels() {
  static const KernelTable &best =
      cpuKernels(supports(Isa::avx512) ? Isa::avx512
                 : supports(Isa::avx2) ? Isa::avx2
                                       : Isa::portable);
  return best;
}

} // namespace moe::kernels
