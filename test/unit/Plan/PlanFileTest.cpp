//===- PlanFileTest.cpp ---------------------------------------------------===//

#include "TinyPlan.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fcntl.h>
#include <filesystem>
#include <fstream>
#include <sys/stat.h>
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

/// Links lead from one folder into another, the second to nothing as yet.
TEST_F(PlanFile, FollowsLinks) {
  std::filesystem::create_directories(folder / "store");
  std::ofstream(folder / "store" / "old.json") << "old";
  for (const char *name : {"old.json", "new.json"}) {
    std::filesystem::path link = folder / name, hop = folder / "store" / "hop";
    std::filesystem::create_symlink("store/hop", link);
    std::filesystem::create_symlink(name, hop);
    ASSERT_TRUE(write(tinyPlan(), link).ok());
    EXPECT_TRUE(std::filesystem::is_symlink(link));
    EXPECT_TRUE(std::filesystem::is_symlink(hop));
    EXPECT_TRUE(std::filesystem::is_regular_file(folder / "store" / name));
    EXPECT_TRUE(read(link).ok());
    std::filesystem::remove(hop);
  }
  EXPECT_EQ(countFiles(), 3u) << "a temporary file was left";
}

TEST_F(PlanFile, WritesIntoAPipe) {
  std::string path = folder / "pipe", text = print(tinyPlan());
  ASSERT_LT(text.size(), 65536u) << "more than a pipe holds";
  ASSERT_EQ(::mkfifo(path.c_str(), 0600), 0);
  int reader = ::open(path.c_str(), O_RDWR | O_NONBLOCK);
  ASSERT_GE(reader, 0);
  EXPECT_TRUE(write(tinyPlan(), path).ok());
  std::string received(65536, '\0');
  ssize_t count = ::read(reader, received.data(), received.size());
  ::close(reader);
  ASSERT_EQ(count, static_cast<ssize_t>(text.size()));
  EXPECT_EQ(received.substr(0, text.size()), text);
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
              StartsWith(path + ": $: is no plan (no key \"format\")"));
}

} // namespace
} // namespace moe::plan
