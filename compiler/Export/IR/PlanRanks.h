//===- PlanRanks.h - steps, overlaps and places of every rank ---*- C++ -*-===//
#pragma once

#include "compiler/Schedule/IR/StepLists.h"
#include "runtime/Plan/Plan.h"

#include <map>
#include <optional>
#include <vector>

namespace moe {

/// What is known of the arena of a rank besides its size.
struct RankArena {
  /// What it takes if no stream waits for bytes that another one still uses.
  int64_t bytesWithoutWaits = 0;
  /// No packing of the same lifetimes is smaller than this.
  int64_t boundBytes = 0;
};

/// The ranks of the plan that was placed last. Drafts of one model differ in
/// what a few ranks do: the others lie where they lay.
class PlacedRanks {
public:
  /// What a rank is placed from, or what comes of it.
  struct Rank {
    plan::Rank rank;
    std::vector<plan::Stage> stages; ///< of the rank
    static Rank of(const plan::Plan &plan, size_t rank);
  };

  /// Places the rank as it was placed last, where the same was asked for.
  std::optional<RankArena> reuse(plan::Plan &plan, size_t rank) const;
  /// The rank of `plan` was made of `before`.
  void remember(Rank before, const plan::Plan &plan, RankArena arena);

private:
  struct Entry {
    Rank before, placed;
    RankArena arena;
    int64_t budgetBytes;
  };
  std::map<size_t, Entry> entries; ///< by rank
};

/// Fills the ranks of `plan`, which has its stages, machine and layout: steps
/// with values and slots, overlaps, arenas with all offsets and the waits that
/// follow from them. Bytes are reused without waits between streams where the
/// budget allows it, with fewest bytes on a rank where it does not. What
/// `known` ranks have in common with these is not worked out again, and these
/// are known then; null: none. As many ranks as there are `jobs` are placed at
/// the same time. Emits an error and fails on interleavings without order and
/// on ranks that no arena can hold.
mlir::FailureOr<std::vector<RankArena>>
placeRanks(mlir::ModuleOp module, const StepLists &lists, plan::Plan &plan,
           PlacedRanks *known, size_t jobs);

/// Fills in the live bytes of the ranks of a placed plan, of as many as there
/// are `jobs` at the same time.
mlir::LogicalResult accountForRanks(mlir::ModuleOp module, plan::Plan &plan,
                                    size_t jobs);

} // namespace moe
