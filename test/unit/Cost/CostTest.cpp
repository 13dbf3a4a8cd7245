#include "compiler/Cost/Cost.h"

#include <gmock/gmock.h>

#include <random>

using namespace moe;
using namespace moe::cost;

namespace {

/// Round figures, so that the tests' arithmetic is done in the head.
Machine simpleMachine() {
  Machine machine;
  machine.name = "simple";
  machine.memoryBytes = int64_t{1} << 36;
  machine.reserveBytes = int64_t{1} << 32;
  machine.bf16FlopsPerSecond = 1000e12;
  machine.f32FlopsPerSecond = 100e12;
  machine.f64FlopsPerSecond = 50e12;
  machine.efficiency = {0.5, 0.4, 0.25, 1.0};
  machine.hbmBytesPerSecond = 4e12;
  machine.hbmEfficiency = 0.5;
  machine.nvlinkDomain = 8;
  machine.nvlinkBytesPerSecond = 400e9;
  machine.nvlinkEfficiency = 0.5;
  machine.networkBytesPerSecond = 50e9;
  machine.networkEfficiency = 0.8;
  machine.hostToDeviceBytesPerSecond = 50e9;
  machine.deviceToHostBytesPerSecond = 50e9;
  machine.hostCombinedBytesPerSecond = 80e9;
  machine.kernelLatencyNs = 1000;
  machine.nvlinkLatencyNs = 5000;
  machine.networkLatencyNs = 20000;
  return machine;
}

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
  EXPECT_EQ(allReduceNs(machine, 4'000'000, 16), 187'500 + 20'000);
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

TEST(Estimate, MoreWorkNeverTakesLess) {
  std::mt19937 random(4);
  Machine machine = *loadMachine("h100-sxm", {"machines"});
  for (int round = 0; round < 1000; ++round) {
    OpWork work;
    work.opClass = static_cast<OpClass>(random() % 5);
    work.dtype = random() % 2 ? DType::bf16 : DType::f32;
    work.flops = static_cast<double>(random()) * 1e4;
    work.bytes = static_cast<int64_t>(random());
    work.linkBytes = static_cast<int64_t>(random());
    auto group = static_cast<int64_t>(1 + random() % 64);
    int64_t time = estimateNs(machine, work, group);
    EXPECT_GE(time, machine.kernelLatencyNs);
    OpWork more = work;
    more.flops *= 2;
    EXPECT_GE(estimateNs(machine, more, group), time);
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
  for (const plan::Assumption &assumption : list) {
    EXPECT_FALSE(assumption.name.empty());
    EXPECT_FALSE(assumption.value.empty());
    EXPECT_NE(assumption.source, "not stated") << assumption.name;
    EXPECT_FALSE(assumption.source.empty());
  }
  EXPECT_EQ(list[0].value, "6.253 GiB");
  EXPECT_EQ(list, assumptions(machine));
}

} // namespace
