//===- PlanFileTest.cpp ---------------------------------------------------===//

#include "TinyPlan.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <unistd.h>

namespace moe::plan {
namespace {

using testing::HasSubstr;
using testing::StartsWith;

class PlanFile : public testing::Test {
protected:
  void SetUp() override {
    folder = std::filesystem::path(testing::TempDir()) /
             ("plan-file-test-" + std::to_string(::getpid()));
    std::filesystem::create_directories(folder);
  }
  void TearDown() override { std::filesystem::remove_all(folder); }

  size_t countFiles() const {
    auto entries = std::filesystem::directory_iterator(folder);
    return std::distance(begin(entries), end(entries));
  }

  std::filesystem::path folder;
};

TEST_F(PlanFile, ReadsWhatItWrote) {
  std::string path = folder / "plan.json";
  ASSERT_TRUE(write(tinyPlan(), path).ok());
  Result<Plan> plan = read(path);
  ASSERT_TRUE(plan.ok()) << plan.error().message;
  EXPECT_EQ(*plan, tinyPlan());
  EXPECT_EQ(countFiles(), 1u) << "a temporary file was left";
}

TEST_F(PlanFile, ReplacesAnOldPlan) {
  std::string path = folder / "plan.json";
  std::ofstream(path) << std::string(100000, 'x');
  ASSERT_TRUE(write(tinyPlan(), path).ok());
  EXPECT_TRUE(read(path).ok());
}

TEST_F(PlanFile, FailureLeavesNothing) {
  // A folder cannot be replaced by a file.
  std::string path = folder / "occupied";
  std::filesystem::create_directories(std::filesystem::path(path) / "inside");
  Status status = write(tinyPlan(), path);
  ASSERT_FALSE(status.ok());
  EXPECT_THAT(status.error().message, HasSubstr("occupied"));
  EXPECT_EQ(countFiles(), 1u) << "a temporary file was left";

  status = write(tinyPlan(), folder / "no-such-folder" / "plan.json");
  ASSERT_FALSE(status.ok());
  EXPECT_THAT(status.error().message, HasSubstr("no-such-folder"));
}

TEST_F(PlanFile, ErrorsNameTheFile) {
  std::string path = folder / "missing.json";
  EXPECT_THAT(read(path).error().message,
              StartsWith(path + ": cannot open: No such file"));
  EXPECT_THAT(read(folder).error().message, HasSubstr("cannot read"));
  std::ofstream(path) << "{}";
  EXPECT_THAT(read(path).error().message,
              StartsWith(path + ": $: missing key \"format\""));
}

} // namespace
} // namespace moe::plan
