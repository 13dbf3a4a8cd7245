//===- Dataset.h - a file as training data ----------------------*- C++ -*-===//
//
// A token is a byte of the file. A sequence is a window of the file; which one
// depends on the number of the sequence alone, so that a step trains on the
// same set of sequences however microbatches and ranks share them.
//
//===----------------------------------------------------------------------===//
#pragma once

#include "support/Result.h"

#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace moe::exec {

class Dataset {
public:
  /// Reads a regular file or a pipe. `sequenceLength` is in tokens,
  /// `furthestShift` the largest shift that copySequence() will be asked for,
  /// at least 1. A file with fewer than sequenceLength + max(2, furthestShift)
  /// bytes is an error. Shifts of 1 and 2 give the same windows.
  static Result<Dataset> read(const std::string &path, int64_t sequenceLength,
                              int64_t furthestShift = 1);
  static Result<Dataset> fromBytes(std::vector<uint8_t> bytes,
                                   int64_t sequenceLength,
                                   const std::string &name,
                                   int64_t furthestShift = 1);

  int64_t sequenceLength() const { return length; }
  int64_t furthestShift() const { return furthest; }
  int64_t bytes() const { return static_cast<int64_t>(data.size()); }
  /// The largest token that occurs.
  int64_t largestToken() const { return largest; }

  /// Tokens [shift, shift + sequenceLength) of the window of `sequence`; shift
  /// 0 gives the inputs and 1 the labels; at most furthestShift().
  void copySequence(int64_t sequence, int64_t shift,
                    std::span<int32_t> tokens) const;

private:
  std::vector<uint8_t> data;
  int64_t length = 0;
  int64_t furthest = 1;
  int64_t largest = 0;
};

/// How a step's sequences are shared out.
struct BatchShape {
  int64_t microbatches = 1;   ///< of one replica
  int64_t replicas = 1;       ///< EP * DP
  int64_t microbatchSize = 1; ///< sequences

  /// Number of the first sequence of a microbatch; its others follow.
  int64_t firstSequence(int64_t step, int64_t microbatch,
                        int64_t replica) const {
    return ((step * microbatches + microbatch) * replicas + replica) *
           microbatchSize;
  }
  int64_t sequencesPerStep() const {
    return microbatches * replicas * microbatchSize;
  }
};

} // namespace moe::exec
