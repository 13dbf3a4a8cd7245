//===- ProgramReplayTest.cpp ----------------------------------------------===//

#include "runtime/Plan/ProgramReplay.h"

#include "TinyPlan.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

namespace moe::plan {
namespace {

/// What a program has on the device once it has one more buffer, and the path
/// that an error about that names.
struct Moment {
  int64_t bytes;
  std::string path;
};

std::vector<Moment> momentsOf(const Stage &stage, const Program &program,
                              const std::string &path) {
  std::vector<Moment> moments;
  int64_t total = 0;
  auto add = [&](int64_t bytes, const std::string &of) {
    total += bytes;
    moments.push_back({total, of});
  };
  auto onDevice = [&](ValueIndex value) {
    return stage.values[value].isOnHost() ? 0 : stage.values[value].bytes;
  };
  for (ValueIndex input : program.inputs)
    add(onDevice(input), path + ".inputs");
  for (size_t o = 0; o < program.ops.size(); ++o) {
    const Op &op = program.ops[o];
    const std::string ofOp = path + ".ops[" + std::to_string(o) + "]";
    for (ValueIndex output : op.outputs)
      if (output != -1)
        add(onDevice(output), ofOp);
    add(op.scratchBytes, ofOp);
    total -= op.scratchBytes;
    for (ValueIndex released : op.releases)
      total -= onDevice(released);
  }
  return moments;
}

// The first buffer that is too much is the one that is named, whatever it is:
// an input, a result or scratch.
TEST(ProgramReplay, NamesWhatNoLongerFitsTheArena) {
  int64_t inputs = 0, ofOps = 0;
  for (const Plan &whole : {tinyPlan(), offloadPlan()})
    for (size_t s = 0; s < whole.stages.size(); ++s)
      for (size_t p = 0; p < whole.stages[s].programs.size(); ++p) {
        const std::string path = "$.stages[" + std::to_string(s) +
                                 "].programs[" + std::to_string(p) + "]";
        const std::vector<Moment> moments =
            momentsOf(whole.stages[s], whole.stages[s].programs[p], path);
        int64_t most = 0;
        for (const Moment &moment : moments)
          most = std::max(most, moment.bytes);
        for (int64_t arena = 0; arena <= most; arena += 128) {
          Plan plan = whole;
          plan.ranks[plan.stages[s].rank].arenaBytes = arena;
          auto first = moments.begin();
          while (first != moments.end() && first->bytes <= arena)
            ++first;
          Result<ProgramAccount> account = accountProgram(
              plan, static_cast<int64_t>(s), static_cast<int64_t>(p));
          if (first == moments.end()) {
            EXPECT_TRUE(account) << path << ", " << arena << " bytes";
            continue;
          }
          ASSERT_FALSE(account) << path << ", " << arena << " bytes";
          EXPECT_EQ(account.error().message,
                    first->path + ": with it " + std::to_string(first->bytes) +
                        " bytes are live, the arena has " +
                        std::to_string(arena));
          (first->path == path + ".inputs" ? inputs : ofOps) += 1;
        }
      }
  EXPECT_GT(inputs, 10);
  EXPECT_GT(ofOps, 10);
}

} // namespace
} // namespace moe::plan
