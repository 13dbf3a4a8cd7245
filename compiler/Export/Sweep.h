//===- Sweep.h - many plans, and which are worth having ---------*- C++ -*-===//
#pragma once

#include "runtime/Plan/Plan.h"

#include <string>
#include <vector>

namespace moe::report {

/// One plan of a sweep, or why there is none.
struct SweepPoint {
  std::string layout;                           ///< "pp=4,ep=8,dp=1"
  int64_t microbatches = 0, microbatchSize = 0; ///< sequences of each
  std::string schedule;                         ///< as asked for
  int64_t budgetBytes = 0;
  std::string error; ///< why no plan was made; empty: there is one
  bool fits = false;
  int64_t stepNs = 0;
  double tokensPerSecond = 0; ///< of one device: layouts differ in devices
  double bubble = 0;
  /// What the rank with the most uses: arena and reserve.
  int64_t deviceBytes = 0;
  /// Fits, and no other one that fits is as quick with less memory, or quicker
  /// with as much. Quick: tokens per second and device.
  bool isOnFront = false;
};

/// A point of this layout, without any figures.
SweepPoint pointOfLayout(const plan::Layout &layout);

/// The figures of a plan.
SweepPoint sweepPoint(const plan::Plan &plan);

/// Fills `isOnFront` of all points.
void markFront(std::vector<SweepPoint> &points);

/// A table, one line a point, those on the front marked with a star;
/// microbatches have a column where points differ in them.
std::string printSweep(const std::vector<SweepPoint> &points);

/// The points as JSON: {"version": 1, "points": [{"layout", "microbatches",
/// "microbatch_size", "schedule", "budget_bytes", "error" or "fits", "step_ns",
/// "tokens_per_second_per_device", "bubble", "device_bytes", "on_front"}]}.
std::string sweepJson(const std::vector<SweepPoint> &points);

/// A page of one file without network: tokens per second and device against
/// memory as a plot, the front as a line, and the table.
std::string sweepPage(const std::vector<SweepPoint> &points,
                      const std::string &title);

} // namespace moe::report
