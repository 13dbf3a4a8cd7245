//===- AnyTrainingTest.cpp - whatever is asked for, the same bits ---------===//
//
// Random models, layouts and schedules, with random choices of what is
// recomputed, offloaded, frozen, and lies where, alone and together. Each plan
// is proven (makePlan and parse do), runs with one thread a stream, uses
// exactly the bytes that it predicts at every op and reaches exactly its peaks
// (exec::run fails otherwise), and gives the loss and every gradient of the
// plan that keeps everything, to the bit. Freed bytes hold NaN.
//
//   MOE_TRAININGS=400     how many, instead of the default
//   MOE_FIRST_TRAINING=7  the seed to begin with
//   MOE_PLAN_FOLDER=DIR   write the plans there instead of running them: for
//                         builds that have no planner (PlanFolderTest.cpp)
//
//===----------------------------------------------------------------------===//

#include "test/unit/EndToEnd/Outcome.h"
#include "test/unit/EndToEnd/RandomTraining.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>
#include <filesystem>

using namespace moe;

namespace {

constexpr int64_t kDefaultTrainings = 120;

int64_t numberIn(const char *variable, int64_t otherwise) {
  const char *text = std::getenv(variable);
  return text ? std::strtoll(text, nullptr, 10) : otherwise;
}

/// How many plans do what; none of it may be missing in the end.
struct Coverage {
  int64_t replays = 0, copies = 0, overlaps = 0, split = 0, forwardOnly = 0,
          overwritten = 0, handlesKept = 0;

  void add(const plan::Plan &plan) {
    bool hasReplay = false, hasCopy = false, isSplit = false, over = false,
         trains = false, keepsHandle = false, overlapped = false;
    for (const plan::Stage &stage : plan.stages) {
      for (const plan::Program &program : stage.programs) {
        trains |= program.phase != plan::Phase::forward;
        isSplit |= program.phase == plan::Phase::weight_grad;
        for (const plan::Op &op : program.ops) {
          hasReplay |= op.name.find(".replay") != std::string::npos;
          hasCopy |= op.stream == plan::Stream::copy_in;
        }
      }
      for (const plan::Value &value : stage.values) {
        over |= value.overwrites != -1;
        keepsHandle |= value.memoryClass == plan::MemoryClass::handles &&
                       value.placement == plan::Placement::slot;
      }
    }
    for (const plan::Rank &rank : plan.ranks)
      overlapped |= !rank.overlaps.empty();
    replays += hasReplay;
    copies += hasCopy;
    split += isSplit;
    overwritten += over;
    forwardOnly += !trains;
    handlesKept += keepsHandle && hasReplay;
    overlaps += overlapped;
  }
};

void compare(const test::RandomTraining &training, int64_t threads) {
  Result<test::Outcome> kept = test::runTwice(training.kept, 1);
  ASSERT_TRUE(kept) << kept.error().message;
  Result<test::Outcome> treated = test::runTwice(training.treated, threads);
  ASSERT_TRUE(treated) << treated.error().message;
  for (double loss : kept->losses)
    EXPECT_TRUE(std::isfinite(loss));
  EXPECT_EQ(treated->losses, kept->losses);
  EXPECT_TRUE(treated->gradients == kept->gradients);
}

} // namespace

TEST(AnyTraining, ChangesNoBit) {
  const char *folder = std::getenv("MOE_PLAN_FOLDER");
  if (folder)
    std::filesystem::create_directories(folder);
  Coverage coverage;
  const int64_t wanted = numberIn("MOE_TRAININGS", kDefaultTrainings);
  const int64_t first = numberIn("MOE_FIRST_TRAINING", 0);
  int64_t done = 0;
  for (int64_t seed = first; done < wanted; ++seed) {
    ASSERT_LT(seed - first, 4 * wanted) << "too little goes together";
    Result<std::optional<test::RandomTraining>> drawn =
        test::drawTraining(static_cast<uint32_t>(seed));
    ASSERT_TRUE(drawn) << "seed " << seed << ": " << drawn.error().message;
    if (!*drawn)
      continue;
    const test::RandomTraining &training = **drawn;
    SCOPED_TRACE("seed " + std::to_string(seed) + ": " + training.text);
    ++done;
    coverage.add(training.treated);
    if (folder) {
      Status written =
          plan::write(training.treated, std::string(folder) + "/" +
                                            std::to_string(seed) + ".json");
      ASSERT_TRUE(written) << written.error().message;
    } else {
      compare(training, 1 + seed % 2);
    }
    if (HasFailure())
      return;
  }
  if (wanted < kDefaultTrainings)
    return;
  for (int64_t count :
       {coverage.replays, coverage.copies, coverage.overlaps, coverage.split,
        coverage.forwardOnly, coverage.overwritten, coverage.handlesKept})
    EXPECT_GT(count, done / 40);
}
