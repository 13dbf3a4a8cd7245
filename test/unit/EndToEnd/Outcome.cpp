#include "test/unit/EndToEnd/Outcome.h"

#include "test/unit/EndToEnd/SmallModels.h"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <unistd.h>

using namespace moe;

static std::string bytesOf(const std::filesystem::path &path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

Result<test::Outcome> test::runTwice(const plan::Plan &plan, int64_t threads) {
  const auto *info = testing::UnitTest::GetInstance()->current_test_info();
  std::string name = info->name();
  std::replace(name.begin(), name.end(), '/', '_');
  // Runs of this test do not see each other's files.
  std::filesystem::path root =
      std::filesystem::path(testing::TempDir()) /
      ("moe_outcome_" + name + "_" + std::to_string(::getpid()));
  std::filesystem::remove_all(root);
  std::filesystem::create_directories(root);
  exec::ExecutorOptions options;
  options.poison = true;
  options.threads = threads;
  Result<exec::RunReport> report =
      test::runPlan(plan, 2, options, root.string());
  Outcome outcome;
  for (const auto &entry : std::filesystem::directory_iterator(root))
    outcome.gradients[entry.path().filename().string()] = bytesOf(entry.path());
  std::filesystem::remove_all(root);
  if (!report)
    return report.error();
  for (const exec::StepReport &step : report->steps)
    outcome.losses.push_back(step.loss);
  return outcome;
}
