//===- Sequence.h - orders in few bytes -------------------------*- C++ -*-===//
//
// Private to compiler/Schedule.
//
//===----------------------------------------------------------------------===//
#pragma once

#include "compiler/Schedule/Schedule.h"

#include <cstdint>
#include <vector>

namespace moe::schedule {

/// One action of a rank on which every stage takes its microbatches in
/// ascending order in each phase, so that stage and phase say which it is.
struct Entry {
  uint32_t code = 0;

  Entry() = default;
  Entry(int64_t stage, Phase phase)
      : code(static_cast<uint32_t>(stage) << 2 | static_cast<uint32_t>(phase)) {
  }
  size_t stage() const { return code >> 2; }
  Phase phase() const { return static_cast<Phase>(code & 3); }
  bool operator==(const Entry &) const = default;
};

/// By rank: its actions in their order.
using Sequence = std::vector<std::vector<Entry>>;

inline Sequence sequenceOf(const std::vector<std::vector<Action>> &order) {
  Sequence sequence(order.size());
  for (size_t rank = 0; rank < order.size(); ++rank) {
    sequence[rank].reserve(order[rank].size());
    for (const Action &action : order[rank])
      sequence[rank].emplace_back(action.stage, action.phase);
  }
  return sequence;
}

inline Sequence withoutWeightGrads(Sequence order) {
  for (auto &entries : order)
    std::erase_if(entries, [](Entry entry) {
      return entry.phase() == Phase::weight_grad;
    });
  return order;
}

} // namespace moe::schedule
