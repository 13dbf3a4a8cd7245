#include "compiler/Cost/Cost.h"

#include "test/unit/Cost/SimpleMachine.h"

#include <gmock/gmock.h>

#include <algorithm>
#include <random>
#include <set>

using namespace moe;
using namespace moe::cost;

namespace {

TEST(Estimate, SlowerOfArithmeticAndMemory) {
  Machine machine = simpleMachine();
  // 500e12 FLOP/s reached; 2e12 B/s reached.
  OpWork work{OpClass::gemm, DType::bf16, 5e12, 2'000'000, 0};
  EXPECT_EQ(estimateNs(machine, work), 10'000'000 + 1000);
  work.bytes = 40'000'000'000;
  EXPECT_EQ(estimateNs(machine, work), 20'000'000 + 1000);
  work = {OpClass::gemm, DType::f32, 5e12, 0, 0};
  EXPECT_EQ(estimateNs(machine, work), 100'000'000 + 1000);
  work.opClass = OpClass::grouped_gemm;
  EXPECT_EQ(estimateNs(machine, work), 125'000'000 + 1000);
  work.opClass = OpClass::attention;
  EXPECT_EQ(estimateNs(machine, work), 200'000'000 + 1000);
  // Elementwise arithmetic does not run on tensor cores.
  work = {OpClass::elementwise, DType::bf16, 1e9, 0, 0};
  EXPECT_EQ(estimateNs(machine, work), 10'000 + 1000);
  EXPECT_EQ(estimateNs(machine, {}), 1000);
}

TEST(Exchange, InsideAndAcrossDomains) {
  Machine machine = simpleMachine();
  EXPECT_EQ(exchangeNs(machine, 1'000'000, 1), 0);
  // 200e9 B/s over NVLink.
  EXPECT_EQ(exchangeNs(machine, 2'000'000, 8), 10'000 + 5000);
  // 16 ranks: 8 of 15 peers are outside; 40e9 B/s over the network.
  EXPECT_EQ(exchangeNs(machine, 1'500'000, 16), 20'000 + 20'000);
  // One outside: the network carries 1/8 of the bytes at 1/5 of the rate, so
  // that NVLink's 7/8 take longer.
  EXPECT_EQ(exchangeNs(machine, 1'600'000, 9), 7'000 + 20'000);
}

TEST(Exchange, GathersFirst) {
  Machine machine = simpleMachine();
  OpWork work{OpClass::exchange, DType::bf16, 0, 4'000'000, 2'000'000};
  EXPECT_EQ(estimateNs(machine, work, 8), 1000 + 2000 + 15'000);
  EXPECT_EQ(estimateNs(machine, work, 1), 1000 + 2000);
}

TEST(AllReduce, RingOverTheSlowestLink) {
  Machine machine = simpleMachine();
  EXPECT_EQ(allReduceNs(machine, 1'000'000, 1), 0);
  EXPECT_EQ(allReduceNs(machine, 2'000'000, 2), 10'000 + 5000);
  EXPECT_EQ(allReduceNs(machine, 4'000'000, 4), 30'000 + 5000);
  // Two domains of eight: eight rings, 40e9 B/s through each port, but no more
  // than NVLink's 200e9 in a domain.
  EXPECT_EQ(allReduceNs(machine, 4'000'000, 16), 37'500 + 20'000);
  machine.networkBytesPerSecond = 10e9; // eight ports: 64e9 B/s
  EXPECT_EQ(allReduceNs(machine, 4'000'000, 16), 117'188 + 20'000);
  machine = simpleMachine();
  // Members eight apart: each alone in its domain.
  EXPECT_EQ(allReduceNs(machine, 4'000'000, 4, 8), 150'000 + 20'000);
  // Two apart: four of them in a domain, four ports.
  EXPECT_EQ(allReduceNs(machine, 4'000'000, 4, 2), 30'000 + 5000);
  EXPECT_EQ(allReduceNs(machine, 4'000'000, 8, 2), 43'750 + 20'000);
}

TEST(Optimizer, TrafficPerElement) {
  Machine machine = simpleMachine();
  // 30 bytes an element at 2e12 B/s.
  EXPECT_EQ(optimizerNs(machine, 1'000'000, DType::bf16), 15'000 + 1000);
  EXPECT_EQ(optimizerNs(machine, 1'000'000, DType::f32), 14'000 + 1000);
  EXPECT_EQ(optimizerNs(machine, 1'000'000, DType::f64), 28'000 + 1000);
}

TEST(PipelineLink, NetworkUnlessThePipelineLiesInOneDomain) {
  Machine machine = simpleMachine();
  EXPECT_EQ(pipelineLink(machine, 4, 2).bytesPerSecond, 200e9);
  EXPECT_EQ(pipelineLink(machine, 4, 2).latencyNs, 5000);
  EXPECT_EQ(pipelineLink(machine, 4, 8).bytesPerSecond, 40e9);
  EXPECT_EQ(pipelineLink(machine, 4, 8).latencyNs, 20000);
}

TEST(Links, TransfersAndCopies) {
  Machine machine = simpleMachine();
  EXPECT_EQ(transferNs(pipelineLink(machine, 4, 2), 2'000'000), 10'000 + 5000);
  EXPECT_EQ(transferNs({700, 0}, 2'000'000), 700);
  // Within the device bytes are read and written: 1e12 B/s.
  EXPECT_EQ(transferNs(localLink(machine), 4'000'000), 4000 + 1000);
  machine.deviceToHostBytesPerSecond = 25e9;
  EXPECT_EQ(hostLink(machine, HostCopy::to_device, false).bytesPerSecond, 50e9);
  EXPECT_EQ(hostLink(machine, HostCopy::to_device, true).bytesPerSecond, 40e9);
  EXPECT_EQ(hostLink(machine, HostCopy::to_host, true).bytesPerSecond, 25e9);
  EXPECT_EQ(hostCopyNs(machine, 0, 0), 0);
  EXPECT_EQ(hostCopyNs(machine, 1'000'000, 0), 20'000 + 1000);
  EXPECT_EQ(hostCopyNs(machine, 0, 1'000'000), 40'000 + 1000);
  // Together: 4 MB in and 2 MB out at 80e9 B/s are slower than each alone is...
  machine.deviceToHostBytesPerSecond = 50e9;
  EXPECT_EQ(hostCopyNs(machine, 3'000'000, 2'500'000), 68'750 + 1000);
  // ...and with little in the other direction, the longer one counts.
  EXPECT_EQ(hostCopyNs(machine, 4'000'000, 100'000), 80'000 + 1000);
}

TEST(Efficiency, IsAPowerOfTheSizeBetweenPoints) {
  Efficiency table(
      std::vector<Efficiency::Point>{{1e6, 0.1}, {1e8, 0.4}, {1e9, 0.4}});
  EXPECT_EQ(table.at(1), 0.1);
  EXPECT_EQ(table.at(1e6), 0.1);
  EXPECT_DOUBLE_EQ(table.at(1e7), 0.2); // the geometric mean half way
  EXPECT_DOUBLE_EQ(table.at(1e8), 0.4);
  EXPECT_DOUBLE_EQ(table.at(3e8), 0.4);
  EXPECT_EQ(table.at(1e30), 0.4);
  EXPECT_EQ(Efficiency(0.3).at(17), 0.3);
  EXPECT_EQ(table.problem(), "");

  auto problem = [](std::vector<Efficiency::Point> points) {
    return Efficiency(std::move(points)).problem();
  };
  EXPECT_THAT(problem({}), testing::HasSubstr("at least one"));
  EXPECT_THAT(problem({{1, 0}}), testing::HasSubstr("must be in (0, 1]"));
  EXPECT_THAT(problem({{1, 1.5}}), testing::HasSubstr("must be in (0, 1]"));
  EXPECT_THAT(problem({{0, 0.5}}), testing::HasSubstr("positive"));
  EXPECT_THAT(problem({{2, 0.5}, {2, 0.6}}), testing::HasSubstr("rise"));
  EXPECT_THAT(problem({{1, 0.1}, {2, 0.3}}),
              testing::HasSubstr("take less time"));
  EXPECT_EQ(problem({{1, 0.1}, {2, 0.2}}), "");
}

TEST(Efficiency, OfWorkIsThatOfOnePart) {
  Machine machine = simpleMachine();
  machine.efficiency[static_cast<size_t>(OpClass::grouped_gemm)] =
      Efficiency(std::vector<Efficiency::Point>{{1e9, 0.1}, {1e10, 0.5}});
  OpWork work{OpClass::grouped_gemm, DType::bf16, 1e12, 0, 0};
  work.parts = 100; // 1e10 each: 500 TFLOP/s
  EXPECT_EQ(estimateNs(machine, work), 2'000'000 + 1000);
  work.parts = 1000; // 1e9 each: 100 TFLOP/s
  EXPECT_EQ(estimateNs(machine, work), 10'000'000 + 1000);
}

TEST(Estimate, MoreWorkNeverTakesLess) {
  std::mt19937 random(4);
  Machine machine = *loadMachine("h100-sxm", {"machines"});
  for (int round = 0; round < 1000; ++round) {
    OpWork work;
    work.opClass = static_cast<OpClass>(random() % 5);
    work.dtype = random() % 2 ? DType::bf16 : DType::f32;
    work.parts = 1 + static_cast<int64_t>(random() % 300);
    work.flops = static_cast<double>(random()) * 1e4;
    work.bytes = static_cast<int64_t>(random());
    work.linkBytes = static_cast<int64_t>(random());
    auto group = static_cast<int64_t>(1 + random() % 64);
    int64_t time = estimateNs(machine, work, group);
    EXPECT_GE(time, machine.kernelLatencyNs);
    OpWork more = work;
    // Rounding of the interpolation may take one nanosecond.
    more.flops *= 1 + static_cast<double>(random() % 100) / 50;
    EXPECT_GE(estimateNs(machine, more, group) + 1, time);
    time = estimateNs(machine, more, group);
    more.bytes *= 2;
    EXPECT_GE(estimateNs(machine, more, group), time);
    more.linkBytes *= 2;
    EXPECT_GE(estimateNs(machine, more, group), time);
    Machine faster = machine;
    faster.hbmBytesPerSecond *= 2;
    faster.nvlinkBytesPerSecond *= 2;
    faster.networkBytesPerSecond *= 2;
    EXPECT_LE(estimateNs(faster, work, group), time);
  }
}

TEST(Estimate, HugeWorkStaysInRange) {
  Machine machine = simpleMachine();
  OpWork work{OpClass::gemm, DType::bf16, 1e300, 0, 0};
  EXPECT_GT(estimateNs(machine, work), 0);
  EXPECT_LE(estimateNs(machine, work), int64_t{1} << 61);
}

TEST(OpClass, Names) {
  for (auto opClass : {OpClass::gemm, OpClass::grouped_gemm, OpClass::attention,
                       OpClass::elementwise, OpClass::exchange})
    EXPECT_EQ(parseOpClass(name(opClass)), opClass);
  EXPECT_FALSE(parseOpClass("fft").has_value());
}

TEST(Assumptions, EachHasValueAndSource) {
  Machine machine = *loadMachine("h800", {"machines"});
  std::vector<plan::Assumption> list = assumptions(machine);
  EXPECT_GE(list.size(), 15u);
  std::set<std::string> names;
  for (const plan::Assumption &assumption : list) {
    EXPECT_TRUE(names.insert(assumption.name).second) << assumption.name;
    EXPECT_FALSE(assumption.name.empty());
    EXPECT_FALSE(assumption.value.empty());
    EXPECT_NE(assumption.source, "not stated") << assumption.name;
    EXPECT_FALSE(assumption.source.empty());
  }
  EXPECT_EQ(list[0].value, "6.253 GiB");
  EXPECT_EQ(list, assumptions(machine));
  EXPECT_TRUE(names.contains("rows sent by an exchange"));
  // Every figure of the description is listed: capacity and f64 alike, but for
  // the memory, which the plan's machine has.
  for (const auto &[path, source] : machine.sources)
    EXPECT_TRUE(path == "memory_bytes" ||
                std::any_of(list.begin(), list.end(),
                            [&](const plan::Assumption &each) {
                              return each.source == source;
                            }))
        << path;
}

TEST(Assumptions, NameTheSizesOfAnEfficiency) {
  Machine machine = simpleMachine();
  machine.efficiency[0] =
      Efficiency(std::vector<Efficiency::Point>{{1e9, 0.2}, {1.3e10, 0.5}});
  auto value = [&](const std::string &name) {
    for (const plan::Assumption &each : assumptions(machine))
      if (each.name == name)
        return each.value;
    return std::string();
  };
  EXPECT_EQ(value("gemm efficiency"),
            "20 % at 1 GFLOP to 50 % at 13 GFLOP (2 sizes)");
  EXPECT_EQ(value("attention efficiency"), "25 %");
  EXPECT_EQ(value("network per device"), "50 GB/s");
  EXPECT_EQ(value("device memory"), "4 TB/s");
}

} // namespace
