//===- NaiveSimulation.h - the rules, by looking at everything --*- C++ -*-===//
#pragma once

#include "compiler/Simulate/Simulate.h"

namespace moe {

/// What compiler/Simulate must agree with, written without its ideas: nothing
/// is remembered from one program to the next, and at every moment every rank,
/// op and message is looked at. Steps and events only (those by rank and step,
/// then member and op), for plans that can be executed.
struct NaiveTimeline {
  struct OfRank {
    std::vector<simulate::Interval> steps;
    std::vector<simulate::Event> events;
    int64_t endNs = 0;
  };
  std::vector<OfRank> ranks;
};
NaiveTimeline simulateNaively(const plan::Plan &plan);

} // namespace moe
