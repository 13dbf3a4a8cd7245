//===- RandomChoices.h - random ranks to choose for -------------*- C++ -*-===//
#pragma once

#include "test/unit/Optimize/RandomLag.h"

namespace moe::optimize {

/// A rank of so many stages: 4 to `most` layers of two kinds with 6 options, of
/// which some have bytes ahead, and some leave bytes on a host that admits a
/// part.
inline PolicyProblem randomRank(Random &random, int64_t stages, int64_t most) {
  PolicyProblem problem;
  for (int kind = 0; kind < 2; ++kind) {
    std::vector<LayerOption> &options = problem.kinds.emplace_back();
    for (int i = 0; i < 6; ++i) {
      LayerOption option;
      option.extraNs = i == 0 ? 0 : random(0, 1000);
      option.keptBytes = random(i == 0 ? 600 : 10, 1000);
      option.peakBytes = option.keptBytes + random(0, 400);
      option.latePeakBytes = random(0, option.peakBytes);
      option.aheadBytes = random(0, 1) * random(0, 500);
      option.pendingBytes = random(0, option.keptBytes / 4);
      option.hostBytes = i < 3 ? 0 : random(0, 500);
      if (option.hostBytes > 0)
        addLag(option, random, 400);
      options.push_back(option);
    }
  }
  const int64_t layers = random(4, most);
  for (int64_t s = 0; s < stages; ++s) {
    std::vector<int64_t> &stage = problem.stages.emplace_back();
    for (int64_t l = s * layers / stages; l < (s + 1) * layers / stages; ++l)
      stage.push_back(random(0, 1));
  }
  for (int64_t moments = random(1, 3) * stages; moments > 0; --moments) {
    Moment &moment = problem.moments.emplace_back();
    for (int64_t s = 0; s < stages; ++s) {
      moment.held.push_back(random(0, 8));
      moment.pending.push_back(random(0, 2));
    }
    moment.running = random(0, stages - 1);
    moment.otherBytes = random(0, 2000);
  }
  problem.hostBytesPerNs = static_cast<double>(random(0, 2));
  if (random(0, 2) == 0)
    problem.hostCapacityBytes = random(0, 20000);
  return problem;
}

} // namespace moe::optimize
