//===- Dump.h - tensors of a run as files -----------------------*- C++ -*-===//
#pragma once

#include "runtime/Exec/Executor.h"

namespace moe::exec {

enum class Dumped { weights, gradients };

/// Writes each parameter's weight (as f32 or f64) or gradient to
/// DIRECTORY/NAME.npy with the shape of the whole parameter: shards of expert
/// parameters are joined along dimension 0, tied copies left out. To be called
/// on all ranks.
Status dump(Executor &executor, Dumped what, const std::string &directory);

/// Writes tokens.npy, labels.npy and, with multi-token prediction, labels_2.npy
/// and so on, of a step (from 1), i32, [sequences, sequence length], in the
/// order of the sequences' numbers.
Status dumpBatch(const plan::Plan &plan, const Dataset &data, int64_t step,
                 const std::string &directory);

} // namespace moe::exec
