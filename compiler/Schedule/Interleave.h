//===- Interleave.h - two programs on the streams of one rank ---*- C++ -*-===//
//
// A program computes on one stream and exchanges rows between expert-parallel
// ranks on another; alone, each stream idles while the other works. Two
// programs without data in common (the forward of one microbatch, the backward
// of another) fill each other's gaps. Which op is issued when follows from the
// ops' times: there is no template of a layer, so that stages of different
// depth and kind can be paired.
//
// Programs are those of a plan that passes plan::check().
//
//===----------------------------------------------------------------------===//
#pragma once

#include "runtime/Plan/Plan.h"

#include <cstdint>
#include <map>
#include <utility>
#include <vector>

namespace moe::schedule {

/// Nanoseconds from the begin of a program to the end of its last op. An op
/// begins when the op before it on its stream and all ops that it waits for
/// have ended.
int64_t durationNs(const plan::Program &program);

/// When each op of such a program ends.
std::vector<int64_t> endsNs(const plan::Program &program);

/// The same for two programs whose ops are issued in `order` (0 or 1: whose op
/// is next, as often as that program has ops) on the same streams.
int64_t durationNs(const plan::Program &first, const plan::Program &second,
                   const std::vector<int64_t> &order);

/// A merge of the ops of two programs.
struct Interleaving {
  std::vector<int64_t> order; ///< as plan::Overlap::order
  int64_t ns = 0;             ///< durationNs of both in that order
  bool operator==(const Interleaving &) const = default;
};

/// Merges two programs, each keeping the order of its ops, such that the last
/// op of both ends as early as the search can find; never later than the one
/// program after the other. Ops stand in the order in which they begin as far
/// as their programs allow it, exchanges first.
///
/// Dynamic programming over how many ops of either program have been issued: a
/// state is when each stream becomes free and when the ops end that later ones
/// wait for. States that another one is nowhere later than are dropped, as are
/// those that cannot beat the best list schedule; of the rest each cell keeps
/// the most promising 2 to 16, which makes the result exact for programs of a
/// few layers and the work linear in the product of their lengths (above 2^24
/// the list schedule is returned).
///
/// `mostStates` is for those who only need to know about how long it takes: no
/// cell keeps more.
Interleaving interleave(const plan::Program &first, const plan::Program &second,
                        int64_t mostStates = 16);

/// Orders of pairs of programs, each found once for programs of one kind: the
/// stages of a model are few kinds, its copies the same, and plans in the
/// making differ in a few stages.
class KnownInterleavings {
public:
  /// Interleaving::order of interleave().
  const std::vector<int64_t> &orderOf(const plan::Program &first,
                                      const plan::Program &second);
  size_t size() const { return orders.size(); }

private:
  /// All that an order follows from.
  using Timing = std::vector<int64_t>;
  static Timing timingOf(const plan::Program &program);

  std::map<std::pair<Timing, Timing>, std::vector<int64_t>> orders;
};

} // namespace moe::schedule
