#include "RandomTimed.h"

#include "compiler/Optimize/Offsets.h"

#include <gtest/gtest.h>

#include <algorithm>

namespace moe::optimize {

std::vector<TimedBuffer> randomTimed(std::mt19937 &random) {
  std::vector<TimedBuffer> buffers;
  for (size_t i = random() % 300; i > 0; --i) {
    auto begin = static_cast<int64_t>(random() % 200);
    buffers.push_back({static_cast<int64_t>(random() % 4 * 100), begin,
                       begin + 1 + static_cast<int64_t>(random() % 40)});
  }
  return buffers;
}

std::pair<int64_t, int64_t>
heightAndBound(const std::vector<TimedBuffer> &buffers,
               const std::vector<int64_t> &offsets) {
  PackingProblem problem;
  for (const TimedBuffer &buffer : buffers)
    problem.buffers.push_back({buffer.size, buffer.begin, buffer.end, 1});
  PackingSolution solution;
  solution.offsets = offsets;
  for (size_t i = 0; i < buffers.size(); ++i)
    if (buffers[i].size > 0)
      solution.height = std::max(solution.height, offsets[i] + buffers[i].size);
  Status legal = verify(problem, solution);
  EXPECT_TRUE(legal.ok()) << legal.error().message;
  return {solution.height, maxLive(problem)};
}

} // namespace moe::optimize
