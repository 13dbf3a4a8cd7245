//===- KernelCases.h - one call of every kernel -----------------*- C++ -*-===//
#pragma once

#include "test/unit/Kernels/KernelTestSupport.h"

namespace moe::kernels::test {

/// Runs kernels on inputs that are equal in every storage type and returns all
/// of their outputs.
struct KernelCase {
  std::string name;
  std::function<std::vector<Array>(const KernelTable &, const Parallel &,
                                   DType storage)>
      run;
};

std::vector<KernelCase> kernelCases();

} // namespace moe::kernels::test
