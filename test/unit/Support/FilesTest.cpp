//===- FilesTest.cpp - what may be written --------------------------------===//

#include "support/Files.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

namespace fs = std::filesystem;
using namespace moe;
using testing::HasSubstr;

namespace {

/// A folder of the test's own with one file in it.
class Outputs : public testing::Test {
protected:
  void SetUp() override {
    folder = fs::path(testing::TempDir()) /
             testing::UnitTest::GetInstance()->current_test_info()->name();
    fs::remove_all(folder);
    fs::create_directories(folder);
    std::ofstream(folder / "file") << "text";
  }

  std::string errorOf(const std::string &output,
                      const std::vector<NamedFile> &inputs = {}) const {
    Status status = checkOutputs({{"--out", output}}, inputs);
    return status ? "" : status.error().message;
  }

  fs::path folder;
};

TEST_F(Outputs, WhereTheyCanBeWrittenNothingIsTouched) {
  EXPECT_EQ(errorOf(folder / "new"), "");
  EXPECT_EQ(errorOf(folder / "file"), "");
  EXPECT_EQ(errorOf("new"), "");
  EXPECT_EQ(errorOf("/dev/null"), "");
  EXPECT_EQ(errorOf(""), "");
  EXPECT_FALSE(fs::exists(folder / "new"));
  EXPECT_EQ(*readFile(folder / "file"), "text");
}

TEST_F(Outputs, WhereTheyCannotTheErrorNamesOptionAndPath) {
  const std::string below = folder / "none" / "new";
  EXPECT_THAT(errorOf(below), HasSubstr("--out: " + below));
  EXPECT_THAT(errorOf(below), HasSubstr("No such file or directory"));
  EXPECT_THAT(errorOf(folder / "file" / "new"), HasSubstr("Not a directory"));
  EXPECT_THAT(errorOf(folder), HasSubstr("is a folder"));
  EXPECT_THAT(errorOf("-"), HasSubstr("/dev/stdout"));
  // What a link points to is what would be written.
  fs::create_symlink("none/new", folder / "link");
  EXPECT_THAT(errorOf(folder / "link"), HasSubstr("No such file or directory"));
}

TEST_F(Outputs, AreApartFromInputs) {
  const std::string input = folder / "file";
  fs::create_symlink("file", folder / "link");
  EXPECT_THAT(errorOf(folder / "link", {{"--in", input}}),
              HasSubstr("--in and --out name the same file"));
  EXPECT_EQ(errorOf(folder / "new", {{"--in", input}}), "");
}

} // namespace
