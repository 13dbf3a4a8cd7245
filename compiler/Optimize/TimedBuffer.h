//===- TimedBuffer.h - bytes for some time ----------------------*- C++ -*-===//
#pragma once

#include <cstdint>

namespace moe::optimize {

/// Lives over [begin, end), which is not empty.
struct TimedBuffer {
  int64_t size = 0;
  int64_t begin = 0;
  int64_t end = 0;
  /// Bytes that lie above it, at most, while it lives.
  int64_t above = 0;
};

} // namespace moe::optimize
