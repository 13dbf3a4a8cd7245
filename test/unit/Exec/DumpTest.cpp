#include "TinyPlan.h"

#include "runtime/Exec/Npy.h"

#include <gtest/gtest.h>

#include <cstring>
#include <filesystem>

using namespace moe;
using namespace moe::test;

namespace {

/// An .npy file taken apart.
struct Array {
  std::string header;
  std::vector<char> data;
  template <typename T> std::vector<T> as() const {
    std::vector<T> values(data.size() / sizeof(T));
    std::memcpy(values.data(), data.data(), values.size() * sizeof(T));
    return values;
  }
};

Array readArray(const std::string &path) {
  std::ifstream file(path, std::ios::binary);
  EXPECT_TRUE(file.good()) << path;
  std::string bytes{std::istreambuf_iterator<char>(file), {}};
  if (bytes.size() < 10)
    return {};
  EXPECT_EQ(bytes.substr(0, 8), std::string("\x93NUMPY\x01\x00", 8));
  size_t length =
      static_cast<uint8_t>(bytes[8]) + 256u * static_cast<uint8_t>(bytes[9]);
  EXPECT_EQ((length + 10) % 64, 0u);
  return {
      bytes.substr(10, length),
      {bytes.begin() + 10 + static_cast<std::ptrdiff_t>(length), bytes.end()}};
}

class Dump : public testing::Test {
protected:
  void SetUp() override {
    const auto *test = testing::UnitTest::GetInstance()->current_test_info();
    root = std::filesystem::path(testing::TempDir()) /
           ("moe_dump_" + std::string(test->name()));
    std::filesystem::remove_all(root);
    std::filesystem::create_directories(root);
  }
  void TearDown() override { std::filesystem::remove_all(root); }

  std::string directory(const std::string &name) {
    std::filesystem::create_directories(root / name);
    return (root / name).string();
  }

  std::string runInto(const TinyModel &model, const std::string &name) {
    exec::RunOptions options;
    options.dumpParameters = directory(name + "/weights");
    options.dumpGradients = directory(name + "/gradients");
    auto report = runPlan(makePlan(model), makeData(model), options);
    EXPECT_TRUE(report.ok()) << report.error().message;
    return (root / name).string();
  }

  std::filesystem::path root;
};

TEST_F(Dump, WritesHeaderAndWidenedValues) {
  auto file = exec::NpyWriter::create(directory("x"), "a/b", DType::f32, {2});
  ASSERT_TRUE(file.ok());
  uint16_t bits[] = {0x3fc0, 0xc000}; // 1.5 and -2
  ASSERT_TRUE(file->append(bits, 2, DType::bf16).ok());
  ASSERT_TRUE(file->finish().ok());
  Array array = readArray(directory("x") + "/a_b.npy");
  EXPECT_EQ(array.header.substr(0, array.header.find('}') + 1),
            "{'descr': '<f4', 'fortran_order': False, 'shape': (2,), }");
  EXPECT_EQ(array.header.back(), '\n');
  EXPECT_EQ(array.as<float>(), (std::vector<float>{1.5f, -2.0f}));
}

TEST_F(Dump, AMissingDirectoryIsAnError) {
  auto file =
      exec::NpyWriter::create((root / "none").string(), "a", DType::f32, {1});
  ASSERT_FALSE(file.ok());
  EXPECT_NE(file.error().message.find("cannot create"), std::string::npos);
}

TEST_F(Dump, LayoutsWriteTheSameWholeTensors) {
  TinyModel single{.microbatches = 4, .experts = true};
  TinyModel split{.pipeline = 2, .expert = 2, .data = 2, .microbatches = 1};
  split.experts = true;
  std::string one = runInto(single, "one"), many = runInto(split, "many");
  for (const char *name : {"weights/tokens", "weights/labels", "weights/embed",
                           "weights/norm", "weights/head", "weights/router",
                           "weights/experts.up", "weights/experts.down"}) {
    SCOPED_TRACE(name);
    Array a = readArray(one + "/" + name + ".npy");
    Array b = readArray(many + "/" + name + ".npy");
    EXPECT_EQ(a.header, b.header);
    EXPECT_EQ(a.data, b.data);
  }
  EXPECT_NE(readArray(one + "/weights/experts.up.npy").header.find("(4,12,8,)"),
            std::string::npos);
  EXPECT_NE(readArray(one + "/weights/tokens.npy").header.find("(8,5,)"),
            std::string::npos);
  for (const char *name :
       {"embed", "norm", "head", "router", "experts.up", "experts.down"}) {
    SCOPED_TRACE(name);
    auto a = readArray(one + "/gradients/" + name + ".npy").as<float>();
    auto b = readArray(many + "/gradients/" + name + ".npy").as<float>();
    ASSERT_EQ(a.size(), b.size());
    double difference = 0, size = 0;
    for (size_t i = 0; i < a.size(); ++i) {
      difference += std::abs(a[i] - b[i]);
      size += std::abs(a[i]);
    }
    EXPECT_GT(size, 0);
    EXPECT_LT(difference, 1e-5 * size);
  }
}

/// Weights are standard deviation times a fixed pattern, so that the loss as a
/// function of one parameter's standard deviation s has the derivative
/// sum(gradient * weight) / s: compared with central differences in f64, for
/// the whole way through forward, exchange and backward.
TEST_F(Dump, GradientsAreDerivativesOfTheLoss) {
  TinyModel model{.pipeline = 2, .expert = 2, .microbatches = 2};
  model.experts = true;
  model.dtype = DType::f64;
  std::string directory = runInto(model, "f64");
  plan::Plan plan = makePlan(model);
  exec::Dataset data = makeData(model);
  int checked = 0;
  for (plan::Stage &stage : plan.stages)
    for (plan::Parameter &parameter : stage.parameters) {
      if (parameter.initializer.kind != "normal")
        continue;
      SCOPED_TRACE(parameter.name);
      auto weight = readArray(directory + "/weights/" + parameter.name + ".npy")
                        .as<double>();
      auto gradient =
          readArray(directory + "/gradients/" + parameter.name + ".npy")
              .as<double>();
      ASSERT_EQ(weight.size(), gradient.size());
      double expected = 0;
      for (size_t i = 0; i < weight.size(); ++i)
        expected += weight[i] * gradient[i];
      constexpr double kStep = 1e-5;
      double &deviation = parameter.initializer.standardDeviation;
      double original = deviation, losses[2];
      for (int side : {0, 1}) {
        deviation = original * (side == 0 ? 1 - kStep : 1 + kStep);
        auto report = runPlan(plan, data);
        ASSERT_TRUE(report.ok()) << report.error().message;
        losses[side] = report->steps[0].loss;
      }
      deviation = original;
      double found = (losses[1] - losses[0]) / (2 * kStep);
      EXPECT_NEAR(found, expected, 1e-6 * std::abs(expected) + 1e-9);
      ++checked;
    }
  EXPECT_EQ(checked, 5);
}

} // namespace
