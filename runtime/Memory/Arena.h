//===- Arena.h - the memory of one rank -------------------------*- C++ -*-===//
#pragma once

#include "runtime/Plan/Plan.h"
#include "support/Result.h"

#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>

namespace moe {

/// One mapping of a fixed size in which buffers lie at offsets that the plan
/// gives. The arena decides nothing; it keeps account of which bytes are live,
/// refuses what contradicts that account, and counts.
///
/// Unreadable pages enclose the mapping; the one at the end begins with the
/// first byte after the arena. Its account is kept by one thread: no locks.
class Arena {
public:
  /// Maps `bytes` bytes, a multiple of plan::kAlignment; they are zero. With
  /// `poison`, bytes that are not live hold 0xFF, which is NaN in every real
  /// dtype, so that a use after release spoils results instead of going
  /// unnoticed. Fails when the system does not grant the memory.
  static Result<Arena> create(int64_t bytes, bool poison = false);

  Arena(Arena &&other) noexcept;
  Arena &operator=(Arena &&other) noexcept;
  Arena(const Arena &) = delete;
  Arena &operator=(const Arena &) = delete;
  ~Arena();

  /// Makes [offset, offset + bytes) live and returns its address. `bytes` is
  /// counted as it is; plans give sizes and offsets in multiples of
  /// plan::kAlignment, and others are refused. `label` names the buffer in
  /// errors; its storage must outlive the buffer. The contents are what was
  /// there before. Fails, naming both, when the range leaves the arena or
  /// overlaps a live one.
  Result<std::byte *> allocate(int64_t offset, int64_t bytes,
                               plan::MemoryClass memoryClass,
                               std::string_view label = {});

  /// Ends the life of the buffer that begins at `offset`. Fails when none does.
  Status release(int64_t offset);

  /// Does the same to the account only, for bytes that another thread still
  /// uses: it calls spoil() when it is done with them.
  Status releaseUnspoiled(int64_t offset);
  /// Poisons bytes, if the arena does that. Leaves the account alone, hence may
  /// be called from any thread that has the bytes for itself.
  void spoil(int64_t offset, int64_t bytes);

  /// The address of a byte of the arena, live or not.
  std::byte *at(int64_t offset) { return base + offset; }
  const std::byte *at(int64_t offset) const { return base + offset; }

  int64_t size() const { return bytes; }

  /// Bytes that are live now.
  const plan::ByteCounts &live() const { return liveBytes; }

  /// Live bytes at the first moment when their total was largest.
  const plan::ByteCounts &peak() const { return peakBytes; }
  int64_t peakTotal() const { return peakSum; }

private:
  struct Buffer {
    int64_t end;
    plan::MemoryClass memoryClass;
    std::string_view label;
  };

  Arena() = default;
  void unmap();
  static std::string describe(int64_t begin, const Buffer &buffer);

  void *mapping = nullptr; ///< guards included
  size_t mappingBytes = 0;
  std::byte *base = nullptr;
  int64_t bytes = 0;
  bool poison = false;
  std::map<int64_t, Buffer> buffers; ///< by first byte
  plan::ByteCounts liveBytes;
  int64_t liveSum = 0;
  plan::ByteCounts peakBytes;
  int64_t peakSum = 0;
};

} // namespace moe
