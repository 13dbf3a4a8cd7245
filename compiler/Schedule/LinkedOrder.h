//===- LinkedOrder.h - an order of actions on shared links ------*- C++ -*-===//
//
// evaluate() lets every message take as long as if it had its link for itself.
// Messages of a rank share its way out and its way in, though: here they wait
// for each other, as compiler/Simulate has it (whose rules these are), so that
// with the same times of programs a step takes the same.
//
//===----------------------------------------------------------------------===//
#pragma once

#include "compiler/Schedule/Evaluate.h"

#include <cstddef>
#include <cstdint>
#include <vector>

namespace moe::schedule {

/// An order of actions and its messages, to be run with one set of costs after
/// another.
class LinkedOrder {
public:
  /// The schedule must pass verify(), and `transfers` be its own. Linear in the
  /// number of actions.
  LinkedOrder(const Schedule &schedule, const Transfers &transfers);

  /// Of each rank, when its last action has ended and all that it sent has
  /// arrived: never before that of evaluate(). Nanoseconds; a message takes
  /// costs.transferNs of both ways. The costs must pass Costs::check(). Linear
  /// in the number of actions, times the logarithm of the number of ranks.
  /// Errors: an order that cannot be executed.
  Result<std::vector<int64_t>> endsNs(const Costs &costs) const;

private:
  static constexpr int32_t kNone = -1;
  class Run;

  /// An action, or a pair of them that overlap.
  struct Piece {
    Action first;
    Action second = {};
    bool isPair = false;
    /// Messages: that have to have arrived before, and that it sends.
    int32_t needed[4] = {kNone, kNone, kNone, kNone};
    int32_t sent[2] = {kNone, kNone};
    /// Where those begin in `posted` whose receives are posted behind it.
    uint32_t postedBegin = 0;
  };
  struct Message {
    int32_t pair = kNone;
    int32_t next = kNone; ///< of the same pair
  };
  /// The messages from one rank to another.
  struct Pair {
    uint32_t from = 0, to = 0;
    int32_t first = kNone;
  };
  struct OfRank {
    std::vector<Piece> pieces; ///< one more than there are, which ends the list
    std::vector<int32_t> posted;             ///< messages
    uint32_t postedAtOnce = 0;               ///< of these, before all pieces
    std::vector<int32_t> outgoing, incoming; ///< pairs
  };

  std::vector<OfRank> ranks;
  std::vector<Message> messages;
  std::vector<Pair> pairs; ///< rising by from, then to
};

} // namespace moe::schedule
