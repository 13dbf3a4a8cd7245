//===- FittingRanks.h - choices that ranks were seen to fit with -*- C++
//-*-===//
//
// Private to driver/.
//
//===----------------------------------------------------------------------===//
#pragma once

#include "driver/Choose.h"

#include <map>
#include <optional>
#include <vector>

namespace moe::driver {

/// What ranks need and take depends on their own blocks and choices alone: a
/// draft that does not fit as a whole still tells which of its ranks do, and
/// what fits can be put together from several drafts.
class FittingRanks {
public:
  /// A cut with choices for all ranks.
  struct Combination {
    std::vector<int64_t> counts; ///< blocks of each stage
    std::vector<optimize::Choices> choices;
    int64_t stepNs = 0; ///< of the order of steps, with what drafts took
  };

  explicit FittingRanks(const Chooser &chooser) : chooser(chooser) {}

  /// Notes the ranks that need no more than this without waits.
  void note(const Chosen &chosen, const Draft &draft, int64_t deviceBytes,
            int64_t hostBytes);

  /// Of each rank under this cut the quickest choices; none: it never fitted.
  std::vector<std::optional<optimize::Choices>>
  of(const std::vector<int64_t> &counts) const;

  /// The quickest of all; none: some rank never fitted.
  Result<std::optional<Combination>> quickest() const;

private:
  struct Record {
    int64_t ns = 0; ///< of a microbatch, both ways
    optimize::Choices choices;
    std::vector<schedule::StageCosts> stages;
  };
  /// A rank, and the first block and the one behind the last of its stages.
  using Key = std::vector<int64_t>;
  Key keyOf(size_t rank, const std::vector<int64_t> &counts) const;

  const Chooser &chooser;
  std::map<Key, Record> records;
  std::vector<std::vector<int64_t>> cuts; ///< that were noted
};

} // namespace moe::driver
