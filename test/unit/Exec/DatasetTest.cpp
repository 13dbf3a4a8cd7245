#include "runtime/Exec/Dataset.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <map>
#include <set>
#include <unistd.h>

using namespace moe;
using exec::BatchShape;
using exec::Dataset;

namespace {

std::vector<uint8_t> count(size_t bytes) {
  std::vector<uint8_t> data(bytes);
  for (size_t i = 0; i < bytes; ++i)
    data[i] = static_cast<uint8_t>(i % 251);
  return data;
}

TEST(Dataset, LabelsAreTheTokensOneLater) {
  auto data = Dataset::fromBytes(count(300), 16, "x");
  ASSERT_TRUE(data.ok());
  std::set<int32_t> firsts;
  for (int64_t sequence = 0; sequence < 1000; ++sequence) {
    std::vector<int32_t> tokens(16), labels(16);
    data->copySequence(sequence, 0, tokens);
    data->copySequence(sequence, 1, labels);
    for (size_t i = 0; i < 16; ++i) {
      EXPECT_EQ(labels[i], (tokens[0] + static_cast<int32_t>(i) + 1) % 251);
      EXPECT_EQ(tokens[i], (tokens[0] + static_cast<int32_t>(i)) % 251);
    }
    firsts.insert(tokens[0]);
  }
  EXPECT_GT(firsts.size(), 200u); // windows are spread over the file
}

TEST(Dataset, NeedsTwoBytesMoreThanASequence) {
  EXPECT_TRUE(Dataset::fromBytes(count(18), 16, "x").ok());
  auto data = Dataset::fromBytes(count(17), 16, "data file 'a'");
  ASSERT_FALSE(data.ok());
  EXPECT_EQ(data.error().message,
            "data file 'a' has 17 bytes; sequences of 16 tokens need at least "
            "18");
  EXPECT_FALSE(Dataset::read("/does/not/exist", 16).ok());
}

TEST(Dataset, RefusesWhatIsNeitherFileNorPipe) {
  for (const char *path : {"/", "/dev/zero"}) {
    auto data = Dataset::read(path, 16);
    ASSERT_FALSE(data.ok());
    EXPECT_EQ(data.error().message,
              "data file '" + std::string(path) +
                  "' is neither a regular file nor a pipe");
  }
}

TEST(Dataset, ReadsAllOfAFile) {
  std::string path =
      testing::TempDir() + "dataset-test-" + std::to_string(::getpid());
  // More than is read at once, the largest token last.
  std::string text((1 << 20) + 5, 'a');
  text.back() = 'b';
  std::ofstream(path, std::ios::binary) << text;
  auto data = Dataset::read(path, 16);
  std::filesystem::remove(path);
  ASSERT_TRUE(data.ok()) << data.error().message;
  EXPECT_EQ(data->bytes(), (1 << 20) + 5);
  EXPECT_EQ(data->largestToken(), 'b');
}

TEST(Dataset, KnowsItsLargestToken) {
  EXPECT_EQ(Dataset::fromBytes({3, 9, 4}, 1, "x")->largestToken(), 9);
}

/// However a batch of 24 sequences is shared, a step holds the same ones, each
/// once, and steps follow one another.
TEST(BatchShape, SharesTheSameSequences) {
  for (int64_t size : {1, 2, 3, 4})
    for (int64_t replicas : {1, 2, 3, 6}) {
      BatchShape batch{24 / (size * replicas), replicas, size};
      if (batch.sequencesPerStep() != 24)
        continue;
      for (int64_t step : {0, 5}) {
        std::map<int64_t, int> seen;
        for (int64_t m = 0; m < batch.microbatches; ++m)
          for (int64_t d = 0; d < replicas; ++d)
            for (int64_t b = 0; b < size; ++b)
              ++seen[batch.firstSequence(step, m, d) + b];
        EXPECT_EQ(seen.size(), 24u);
        EXPECT_EQ(seen.begin()->first, step * 24);
        EXPECT_EQ(seen.rbegin()->first, step * 24 + 23);
      }
    }
}

} // namespace
