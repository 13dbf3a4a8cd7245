//===- Dump.h - tensors of a run as files -----------------------*- C++ -*-===//
#pragma once

#include "runtime/Exec/Executor.h"

namespace moe::exec {

enum class Dumped { weights, gradients };

/// Writes each parameter's weight (as f32 or f64) or gradient to
/// DIRECTORY/NAME.npy with the shape of the whole parameter: shards of expert
/// parameters are joined along dimension 0. To be called on all ranks.
Status dump(Executor &executor, Dumped what, const std::string &directory);

/// Writes tokens.npy and labels.npy of a step (from 1), i32, [sequences,
/// sequence length], in the order of the sequences' numbers.
Status dumpBatch(const plan::Plan &plan, const Dataset &data, int64_t step,
                 const std::string &directory);

} // namespace moe::exec
