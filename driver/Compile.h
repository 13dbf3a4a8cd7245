//===- Compile.h - plans from what has been decided -------------*- C++ -*-===//
//
// Private to driver/.
//
//===----------------------------------------------------------------------===//
#pragma once

#include "driver/Choose.h"
#include "driver/Inputs.h"
#include "driver/PlanSearch.h"
#include "passes/Policies/BlockOptions.h"

#include <memory>

namespace moe::driver {

/// What the passes are told to do about memory.
struct Decided {
  std::vector<int64_t> layers;
  std::string recompute, offload;
};

/// A model on its way through the compiler. It is imported and differentiated
/// once; every plan starts from there.
class Compiler {
public:
  /// `inputs` has to outlive the compiler, and the compiler its drafts.
  static Result<Compiler> make(const Inputs &inputs);
  Compiler(Compiler &&) noexcept;
  ~Compiler();

  /// How the blocks of the model can be treated; measured once for equal ones.
  /// May be asked at the same time, by others that ask for nothing else.
  Result<ModelOptions> options(Techniques techniques);

  /// Makes a plan for a budget, reserve included, as far as its arenas. Its
  /// finish() `writes` the files that were asked for besides the plan.
  Result<Draft> draft(const Trial &trial, const Decided &decided,
                      int64_t budgetBytes, bool writes);

private:
  struct State;
  explicit Compiler(std::unique_ptr<State> state);
  std::unique_ptr<State> state;
};

} // namespace moe::driver
