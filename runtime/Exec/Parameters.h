//===- Parameters.h - weights, gradients and the optimizer ------*- C++ -*-===//
#pragma once

#include "runtime/Comm/Transport.h"
#include "runtime/Exec/Binding.h"
#include "runtime/Exec/ThreadPool.h"
#include "runtime/Memory/Arena.h"

namespace moe::exec {

/// AdamW (arXiv 1711.05101) and what surrounds it.
struct OptimizerOptions {
  double learningRate = 1e-3;
  int64_t warmupSteps = 0; ///< linear, from learningRate / warmupSteps
  double beta1 = 0.9, beta2 = 0.95;
  double epsilon = 1e-8;
  double weightDecay = 0.1; ///< of parameters with `decay`
  double clip = 1.0; ///< largest gradient norm; 0: gradients are not clipped

  double rate(int64_t step) const {
    return step < warmupSteps ? learningRate * static_cast<double>(step) /
                                    static_cast<double>(warmupSteps)
                              : learningRate;
  }
};

/// Fills `values` with elements [first, first + n) of a parameter: a function
/// of seed, name and element index alone, so that no layout changes a weight.
/// Normal numbers by the method of Box and Muller from a counter-based hash.
/// T: float or double.
template <typename T>
void initialize(ThreadPool &pool, const plan::Parameter &parameter,
                uint64_t seed, int64_t first, std::span<T> values);

/// The parameters of one rank, at the places that the plan gives them.
class Parameters {
public:
  /// What a parameter consists of; flat views, absent where there is no buffer.
  struct Entry {
    const plan::Parameter *parameter = nullptr;
    kernels::Tensor weight, gradient, master, firstMoment, secondMoment;
  };

  Parameters(const Binding &binding, comm::Coordinates at, Arena &arena,
             comm::Transport &transport, ThreadPool &pool,
             const kernels::KernelTable &kernels);

  /// Allocates all buffers, makes the weights and zeroes the moments.
  Status create(uint64_t seed);

  void zeroGradients();
  /// Sums each gradient over the ranks that share the parameter, tied copies on
  /// other pipeline ranks included.
  Status reduceGradients();
  /// Norm of the reduced gradient of the whole model, each element counted
  /// once; the same number on every rank.
  Result<double> gradientNorm();
  /// One optimizer step, counted from 1, with gradients clipped to
  /// options.clip.
  void update(const OptimizerOptions &options, int64_t step,
              double gradientNorm);

  const std::vector<Entry> &entries() const { return list; }
  /// Index of the first local element in the whole parameter.
  int64_t firstElement(const plan::Parameter &parameter) const;

private:
  Result<kernels::Tensor> allocate(const std::string &name, int64_t offset,
                                   DType dtype, int64_t elements,
                                   plan::MemoryClass memoryClass);
  void fill(const Entry &entry, uint64_t seed);
  /// Adds up the gradients of what is tied to each other.
  Status reduceTied();

  const Binding &binding;
  comm::Coordinates at;
  Arena &arena;
  comm::Transport &transport;
  ThreadPool &pool;
  const kernels::KernelTable &kernels;
  comm::Group dense, expertReplicas, world;
  std::vector<Entry> list;
};

} // namespace moe::exec
