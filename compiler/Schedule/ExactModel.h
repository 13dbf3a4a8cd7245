//===- ExactModel.h - scheduling as a mixed-integer program -----*- C++ -*-===//
//
// Private to Exact.cpp and its tests: the program, free of any solver.
//
//===----------------------------------------------------------------------===//
#pragma once

#include "compiler/Schedule/SearchInstance.h"

#include <cstdint>
#include <vector>

namespace moe::schedule::search {

/// lower <= sum of coefficient * column <= upper.
struct ModelRow {
  std::vector<std::pair<int, double>> entries; ///< column, coefficient
  double lower = 0, upper = 0;
};

struct ModelColumn {
  double lower = 0, upper = 0;
  bool integer = false;
};

/// Begins of actions are columns 0 to n - 1, the makespan is column n, the
/// orders follow.
struct ExactModel {
  std::vector<Action> actions;
  std::vector<ModelColumn> columns;
  std::vector<ModelRow> rows;
  double unitNs = 1; ///< what one unit of the time columns is
  bool whole = true; ///< all times are whole multiples of the unit

  size_t makespanColumn() const { return actions.size(); }

  /// The program of all schedules that are better than `makespanNs`, with
  /// `boundNs` as the least makespan. Every action must take time.
  ExactModel(const Instance &instance, int64_t makespanNs, int64_t boundNs);
  /// What the makespan may be at most: one unit less than the one given, or one
  /// part in 100000 where units are too small to be told apart.
  int64_t cutoffNs = 0;
  bool empty = false; ///< no schedule can be that short

  /// The order of actions on each rank in a solution.
  std::vector<std::vector<Action>> orderOf(const Instance &instance,
                                           const double *solution) const;
};

} // namespace moe::schedule::search
