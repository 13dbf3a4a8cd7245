//===- Scratch.h - small working memory of a thread -------------*- C++ -*-===//
//
// Packed panels and tiles. Their size is bounded by block sizes and, for tables
// per row or per expert, by one dimension of the model; never by tokens times
// width. Kept by the thread from call to call.
//
//===----------------------------------------------------------------------===//
#pragma once

#include <cstddef>
#include <cstdint>

namespace moe::kernels {

/// Who uses the memory; two users on one thread at a time take different slots.
enum class ScratchSlot : uint8_t {
  packedA,
  packedB,
  tile,
  attention,
  table, ///< filled by the caller of parallelFor, read by all its chunks
  row,
};

/// At least `bytes` bytes aligned to 64, valid until the thread's next call
/// with the same slot. Contents are undefined.
void *scratchBytes(ScratchSlot slot, size_t bytes);

template <typename T> T *scratch(ScratchSlot slot, int64_t elements) {
  return static_cast<T *>(
      scratchBytes(slot, static_cast<size_t>(elements) * sizeof(T)));
}

} // namespace moe::kernels
