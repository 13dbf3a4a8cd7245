#include "compiler/Cost/Profile.h"
#include "test/unit/Cost/SimpleMachine.h"

#include <gmock/gmock.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <random>
#include <unistd.h>

using namespace moe;
using namespace moe::cost;
using testing::HasSubstr;
using Kind = ProfileEntry::Kind;

namespace {

double between(std::mt19937 &random, double low, double high) {
  return low + (high - low) * static_cast<double>(random() % 100'000) / 1e5;
}

Fanout randomFanout(std::mt19937 &random) {
  return {1 + static_cast<int64_t>(random() % 5000),
          1 + static_cast<int64_t>(random() % 20'000),
          {8, 256, random() % 2 ? 8 : 1, 1}};
}

Profile randomProfile(std::mt19937 &random) {
  Profile profile{"measured.json", "simple", {}};
  size_t count = 1 + random() % 20;
  for (size_t i = 0; i < count; ++i) {
    ProfileEntry entry;
    entry.kind = static_cast<Kind>(random() % 8 > 2 ? 0 : random() % 3);
    entry.ns = 1 + static_cast<int64_t>(random());
    entry.work.bytes = 1 + static_cast<int64_t>(random());
    if (entry.kind == Kind::op) {
      entry.work.opClass = static_cast<OpClass>(random() % 5);
      if (entry.work.opClass == OpClass::exchange) {
        entry.groupSize = int64_t{2} << (random() % 7);
        if (random() % 2) {
          entry.work.fanout = randomFanout(random);
          entry.work.fanout.routing.topGroups =
              entry.work.fanout.routing.groups;
        } else {
          entry.work.linkBytes = 1 + static_cast<int64_t>(random());
        }
      } else {
        entry.work.dtype = random() % 2 ? DType::bf16 : DType::f64;
        entry.work.flops =
            random() % 5 ? 1 + static_cast<double>(random()) * 1e3 : 0;
        entry.work.parts = 1 + static_cast<int64_t>(random() % 9);
      }
    }
    profile.entries.push_back(entry);
  }
  return profile;
}

std::string failure(const std::string &entries) {
  Result<Profile> profile = parseProfile(
      R"({"format": 1, "machine": "simple", "entries": )" + entries + "}", "p");
  return profile.ok() ? "no error" : profile.error().message;
}

std::string failureOf(const std::string &entry) {
  return failure("[" + entry + "]");
}

TEST(Profile, IsReadBack) {
  std::mt19937 random(21);
  for (int round = 0; round < 200; ++round) {
    Profile profile = randomProfile(random);
    Result<Profile> again = parseProfile(printProfile(profile), profile.source);
    ASSERT_TRUE(again.ok()) << again.error().message;
    EXPECT_EQ(*again, profile);
  }
}

TEST(Profile, KindsOfOpsHaveAClass) {
  EXPECT_EQ(classOfKind("linear_weight_grad"), OpClass::gemm);
  EXPECT_EQ(classOfKind("grouped_linear_input_grad"), OpClass::grouped_gemm);
  EXPECT_EQ(classOfKind("attention"), OpClass::attention);
  EXPECT_EQ(classOfKind("combine"), OpClass::exchange);
  EXPECT_EQ(classOfKind("rope"), OpClass::elementwise);
  EXPECT_FALSE(classOfKind("fft").has_value());
  EXPECT_FALSE(classOfKind("").has_value());
  Result<Profile> profile = parseProfile(
      R"({"format": 1, "machine": "m", "entries": [{"kind": "linear",
          "dtype": "bf16", "flops": 1e9, "bytes": 7, "ns": 5}]})",
      "p");
  ASSERT_TRUE(profile.ok()) << profile.error().message;
  EXPECT_EQ(profile->entries[0].work.opClass, OpClass::gemm);
  EXPECT_EQ(profile->entries[0].work.parts, 1);
}

TEST(Profile, ErrorsNameTheField) {
  auto broken = [](const std::string &text) {
    Result<Profile> profile = parseProfile(text, "p");
    return profile.ok() ? "no error" : profile.error().message;
  };
  EXPECT_EQ(broken("{"), "profile: not valid JSON");
  EXPECT_EQ(broken("[]"), "profile: must be a JSON object");
  EXPECT_EQ(broken(R"({"machine": "a"})"), "profile: format: missing");
  EXPECT_EQ(broken(R"({"format": 2, "machine": "a", "entries": [1]})"),
            "profile: format: is 2; this program reads format 1");
  EXPECT_EQ(broken(R"({"format": 1, "format": 1})"),
            "profile: field \"format\" appears twice in one object");
  EXPECT_THAT(broken(R"({"format": 1, "machine": "a", "entries": [], "x": 1})"),
              HasSubstr("profile: x: unknown field"));
  EXPECT_THAT(failure("[]"), HasSubstr("a list of at least one entry"));
  EXPECT_THAT(failure("{}"), HasSubstr("a list of at least one entry"));
  EXPECT_EQ(failure("[1]"), "profile: entries[0]: must be an object");
  EXPECT_THAT(failureOf("{}"), HasSubstr("entries[0].class: missing"));
  EXPECT_THAT(failureOf(R"({"class": "fft"})"),
              HasSubstr("entries[0].class: must be one of gemm"));
  EXPECT_THAT(failureOf(R"({"kind": "fft"})"),
              HasSubstr("entries[0].kind: 'fft' is no kind of op"));
  const std::string gemm = R"({"class": "gemm", "dtype": "bf16", )";
  EXPECT_EQ(failureOf(gemm + R"("flops": 1e9, "bytes": 7, "ns": 5})"),
            "no error");
  EXPECT_THAT(failureOf(gemm + R"("flops": 1e9, "bytes": 7})"),
              HasSubstr("entries[0].ns: missing"));
  EXPECT_THAT(failureOf(gemm + R"("flops": 1e9, "bytes": 7, "ns": 0})"),
              HasSubstr("entries[0].ns: must be positive"));
  EXPECT_THAT(failureOf(gemm + R"("flops": 1e9, "bytes": -7, "ns": 5})"),
              HasSubstr("entries[0].bytes: must be 0 or more"));
  EXPECT_THAT(failureOf(gemm + R"("flops": 1e9, "bytes": 1.5, "ns": 5})"),
              HasSubstr("entries[0].bytes: must be an integer"));
  EXPECT_THAT(failureOf(gemm + R"("flops": -1, "bytes": 7, "ns": 5})"),
              HasSubstr("entries[0].flops: must be a number"));
  EXPECT_THAT(failureOf(gemm + R"("flops": 1e99, "bytes": 7, "ns": 5})"),
              HasSubstr("entries[0].flops: must be a number"));
  EXPECT_THAT(
      failureOf(gemm + R"("flops": 1, "bytes": 7, "ns": 5, "colour": 1})"),
      HasSubstr("entries[0].colour: unknown field"));
  EXPECT_THAT(
      failureOf(
          R"({"class": "gemm", "dtype": "i32", "flops": 1, "bytes": 1, "ns": 1})"),
      HasSubstr("entries[0].dtype: must be"));
  EXPECT_THAT(failureOf(R"({"class": "to_host", "ns": 5})"),
              HasSubstr("entries[0].bytes: missing"));
  EXPECT_THAT(
      failureOf(
          R"({"class": "exchange", "group_size": 1, "link_bytes": 5, "ns": 5})"),
      HasSubstr("entries[0].group_size: must be positive"));
  EXPECT_THAT(failureOf(R"({"class": "exchange", "group_size": 2, "ns": 5})"),
              HasSubstr("entries[0].link_bytes: missing"));
  EXPECT_THAT(failureOf(
                  R"({"class": "exchange", "group_size": 2, "ns": 5, "routing":
             {"tokens": 1, "row_bytes": 1, "top_k": 5, "experts": 4}})"),
              HasSubstr("entries[0].routing: top_k = 5 exceeds the 4 experts"));
  EXPECT_THAT(failureOf(
                  R"({"class": "exchange", "group_size": 3, "ns": 5, "routing":
             {"tokens": 1, "row_bytes": 1, "top_k": 2, "experts": 4}})"),
              HasSubstr("entries[0].group_size: must divide the experts"));
  // Every truncation fails, none crashes.
  std::mt19937 random(22);
  std::string text = printProfile(randomProfile(random));
  for (size_t length = 0; length + 2 < text.size(); length += 5)
    EXPECT_FALSE(parseProfile(text.substr(0, length), "p").ok());
}

TEST(Profile, FilesAreNamed) {
  std::string path =
      testing::TempDir() + "profile_" + std::to_string(getpid()) + ".json";
  Result<Profile> profile = readProfile(path);
  ASSERT_FALSE(profile.ok());
  EXPECT_THAT(profile.error().message, HasSubstr(path));
  std::ofstream(path) << "{}";
  profile = readProfile(path);
  ASSERT_FALSE(profile.ok());
  EXPECT_EQ(profile.error().message, path + ": profile: format: missing");
  std::mt19937 random(23);
  Profile good = randomProfile(random);
  std::ofstream(path) << printProfile(good);
  profile = readProfile(path);
  ASSERT_TRUE(profile.ok()) << profile.error().message;
  EXPECT_EQ(profile->source, path);
  EXPECT_EQ(profile->entries, good.entries);
  std::remove(path.c_str());
}

//===----------------------------------------------------------------------===//
// Calibration
//===----------------------------------------------------------------------===//

ProfileEntry measured(const Machine &machine, const OpWork &work,
                      int64_t groupSize = 1) {
  return {Kind::op, work, groupSize, estimateNs(machine, work, groupSize)};
}

/// A table that grows no faster than the size, with points at powers of two.
Efficiency randomTable(std::mt19937 &random, double size) {
  std::vector<Efficiency::Point> points;
  double share = between(random, 0.02, 0.3);
  for (size_t i = 0, count = 1 + random() % 5; i < count; ++i) {
    points.push_back({size, share});
    double factor = std::exp2(1 + static_cast<double>(random() % 3));
    size *= factor;
    share = std::min(0.9, share * between(random, 0.9, factor));
  }
  return Efficiency(std::move(points));
}

/// The machine of `base` with other efficiencies, latencies and host rates.
Machine disturbed(const Machine &base, std::mt19937 &random) {
  Machine machine = base;
  machine.efficiency[0] = randomTable(random, 0x1p30);
  machine.efficiency[1] = randomTable(random, 0x1p28);
  machine.efficiency[2] = randomTable(random, 0x1p26);
  machine.hbmEfficiency = between(random, 0.4, 0.98);
  machine.nvlinkEfficiency = between(random, 0.3, 0.98);
  machine.networkEfficiency = between(random, 0.3, 0.98);
  machine.kernelLatencyNs = 500 + static_cast<int64_t>(random() % 9000);
  machine.nvlinkLatencyNs = static_cast<int64_t>(random() % 50'000);
  machine.networkLatencyNs = static_cast<int64_t>(random() % 90'000);
  machine.hostToDeviceBytesPerSecond = between(random, 20e9, 50e9);
  machine.deviceToHostBytesPerSecond = between(random, 20e9, 50e9);
  machine.hostCombinedBytesPerSecond =
      machine.hostToDeviceBytesPerSecond + machine.deviceToHostBytesPerSecond;
  return machine;
}

/// What `machine` takes for work of every class over a range of sizes.
Profile profileOf(const Machine &machine, std::mt19937 &random) {
  Profile profile{"p.json", machine.name, {}};
  auto add = [&](OpWork work, int64_t groupSize = 1) {
    profile.entries.push_back(measured(machine, work, groupSize));
  };
  for (int power = 22; power < 34; ++power)
    add({OpClass::elementwise, DType::bf16, 0, int64_t{1} << power, 0});
  for (int power = 20; power < 44; ++power)
    for (OpClass opClass :
         {OpClass::gemm, OpClass::grouped_gemm, OpClass::attention}) {
      OpWork work{opClass, DType::bf16, 0, 1000, 0};
      work.parts = opClass == OpClass::gemm
                       ? 1
                       : 1 + static_cast<int64_t>(random() % 64);
      work.flops = std::exp2(power) * static_cast<double>(work.parts);
      add(work);
    }
  for (int power = 18; power < 30; ++power)
    for (int64_t group : {2, 8, 16, 64})
      add({OpClass::exchange, DType::bf16, 0, 1000, int64_t{1} << power},
          group);
  for (int64_t tokens : {64, 512, 4096, 16384})
    for (int64_t group : {8, 32}) {
      OpWork work{OpClass::exchange, DType::bf16, 0, 1000, 0};
      work.fanout = {tokens, 14336, {8, 256, 8, 4}};
      add(work, group);
    }
  for (int power = 20; power < 34; ++power)
    for (Kind kind : {Kind::to_device, Kind::to_host}) {
      OpWork work;
      work.bytes = int64_t{1} << power;
      profile.entries.push_back({kind, work, 1,
                                 kind == Kind::to_device
                                     ? hostCopyNs(machine, work.bytes, 0)
                                     : hostCopyNs(machine, 0, work.bytes)});
    }
  std::shuffle(profile.entries.begin(), profile.entries.end(), random);
  return profile;
}

TEST(Calibrate, RecoversTheMachineThatWasMeasured) {
  std::mt19937 random(31);
  for (int round = 0; round < 40; ++round) {
    Machine base = simpleMachine();
    base.copies = round % 2 ? Copies::node : Copies::choice;
    Machine known = disturbed(base, random);
    Result<Machine> found = calibrate(base, profileOf(known, random));
    ASSERT_TRUE(found.ok()) << found.error().message;
    EXPECT_NEAR(found->hbmEfficiency, known.hbmEfficiency, 1e-3);
    EXPECT_NEAR(static_cast<double>(found->kernelLatencyNs),
                static_cast<double>(known.kernelLatencyNs), 10);
    EXPECT_NEAR(found->nvlinkEfficiency, known.nvlinkEfficiency, 0.01);
    EXPECT_NEAR(found->networkEfficiency, known.networkEfficiency, 0.01);
    EXPECT_NEAR(static_cast<double>(found->nvlinkLatencyNs),
                static_cast<double>(known.nvlinkLatencyNs), 100);
    EXPECT_NEAR(static_cast<double>(found->networkLatencyNs),
                static_cast<double>(known.networkLatencyNs), 100);
    EXPECT_NEAR(found->hostToDeviceBytesPerSecond,
                known.hostToDeviceBytesPerSecond, 1e7);
    EXPECT_NEAR(found->deviceToHostBytesPerSecond,
                known.deviceToHostBytesPerSecond, 1e7);
    // Times of work that was not measured.
    for (int i = 0; i < 50; ++i) {
      OpWork work{static_cast<OpClass>(random() % 3), DType::bf16, 0, 1000, 0};
      work.parts = 1 + static_cast<int64_t>(random() % 64);
      work.flops =
          std::exp2(between(random, 24, 43)) * static_cast<double>(work.parts);
      auto expected = static_cast<double>(estimateNs(known, work));
      EXPECT_NEAR(static_cast<double>(estimateNs(*found, work)) / expected, 1,
                  0.02);
    }
    EXPECT_EQ(found->name, base.name);
    EXPECT_EQ(found->bf16FlopsPerSecond, base.bf16FlopsPerSecond);
    EXPECT_THAT(found->sources["efficiency.gemm"],
                HasSubstr("calibrated from p.json, "));
    EXPECT_EQ(found->sources["hbm.efficiency"],
              "calibrated from p.json, 12 entries");
    EXPECT_EQ(found->sources.count("memory_bytes"), 0u);
    // The result is a description like any other.
    found->description = "test";
    EXPECT_TRUE(parseMachine(printMachine(*found)).ok());
  }
}

TEST(Calibrate, OutliersDoNotCount) {
  std::mt19937 random(32);
  Machine base = simpleMachine();
  Machine known = disturbed(base, random);
  known.efficiency[0] = Efficiency(0.6);
  Profile profile{"p", "simple", {}};
  for (int i = 0; i < 300; ++i) {
    OpWork gemm{OpClass::gemm, DType::bf16, std::exp2(between(random, 35, 40)),
                10, 0};
    OpWork copy{OpClass::elementwise, DType::bf16, 0,
                std::llround(std::exp2(between(random, 26, 33))), 0};
    for (const OpWork &work : {gemm, copy}) {
      ProfileEntry entry = measured(known, work);
      entry.ns = std::llround(static_cast<double>(entry.ns) *
                              between(random, 1.0, 1.01));
      if (random() % 10 == 0)
        entry.ns *= 5;
      profile.entries.push_back(entry);
    }
  }
  Result<Machine> found = calibrate(base, profile);
  ASSERT_TRUE(found.ok()) << found.error().message;
  EXPECT_NEAR(found->hbmEfficiency, known.hbmEfficiency, 0.02);
  for (const Efficiency::Point &point : found->efficiency[0].points)
    EXPECT_NEAR(point.share, 0.6, 0.02) << point.size;
  // What was not measured stays.
  EXPECT_EQ(found->efficiency[1], base.efficiency[1]);
  EXPECT_EQ(found->nvlinkEfficiency, base.nvlinkEfficiency);
}

TEST(Calibrate, OneMeasurementGivesAnEfficiency) {
  Machine base = simpleMachine();
  // 1e12 operations in 2 ms behind 1 us of latency: 500 of 1000 TFLOP/s.
  Profile profile{"p", "simple", {{}}};
  profile.entries[0].work = {OpClass::gemm, DType::bf16, 1e12, 0, 0};
  profile.entries[0].ns = 2'001'000;
  Machine found = *calibrate(base, profile);
  EXPECT_DOUBLE_EQ(found.efficiency[0].at(1e12), 0.5);
  EXPECT_EQ(found.sources["efficiency.gemm"], "calibrated from p, 1 entry");
  // 2 GB in 1 ms: 2 of 4 TB/s.
  profile.entries[0].work = {OpClass::elementwise, DType::bf16, 0,
                             2'000'000'000, 0};
  profile.entries[0].ns = 1'001'000;
  EXPECT_DOUBLE_EQ(calibrate(base, profile)->hbmEfficiency, 0.5);
}

TEST(Calibrate, SizesThatWereNotMeasuredKeepTheirShape) {
  Machine base = simpleMachine();
  base.efficiency[0] = Efficiency(std::vector<Efficiency::Point>{
      {1e9, 0.1}, {1e11, 0.4}, {1e12, 0.4}, {1e14, 0.8}});
  Profile profile{"p", "simple", {{}}};
  profile.entries[0].work = {OpClass::gemm, DType::bf16, 1e12, 0, 0};
  profile.entries[0].ns = 2'001'000; // 0.5 of the peak
  Machine found = *calibrate(base, profile);
  EXPECT_DOUBLE_EQ(found.efficiency[0].at(1e9), 0.125);
  EXPECT_DOUBLE_EQ(found.efficiency[0].at(1e10), 0.25);
  EXPECT_DOUBLE_EQ(found.efficiency[0].at(1e12), 0.5);
  EXPECT_DOUBLE_EQ(found.efficiency[0].at(1e15), 1); // not above the peak
}

TEST(Calibrate, SmallSizesAreRaisedToKeepTimesRising) {
  // The larger product seems to take half the time of the smaller one.
  Machine base = simpleMachine();
  Profile profile{"p", "simple", {{}, {}}};
  profile.entries[0].work = {OpClass::gemm, DType::bf16, 1e12, 0, 0};
  profile.entries[0].ns = 8'001'000;
  profile.entries[1].work = {OpClass::gemm, DType::bf16, 2e12, 0, 0};
  profile.entries[1].ns = 4'001'000;
  Machine found = *calibrate(base, profile);
  EXPECT_EQ(found.efficiency[0].problem(), "");
  EXPECT_EQ(estimateNs(found, profile.entries[1].work), 4'001'000);
  EXPECT_NEAR(static_cast<double>(estimateNs(found, profile.entries[0].work)),
              4'001'000, 2);
}

TEST(Calibrate, NonsenseIsRefused) {
  Machine base = simpleMachine();
  auto failureOf = [&](OpWork work, int64_t ns, int64_t groupSize = 1) {
    Profile profile{"p", "simple", {{Kind::op, work, groupSize, ns}}};
    Result<Machine> found = calibrate(base, profile);
    return found.ok() ? "no error" : found.error().message;
  };
  // 2e15 FLOP/s.
  EXPECT_THAT(failureOf({OpClass::gemm, DType::bf16, 2e12, 0, 0}, 1'000'000),
              HasSubstr("p: profile: entries[0]: 2e+15 FLOP/s is more than the "
                        "peak of arithmetic of simple, 1e+15; check"));
  // The f32 peak is that of vector units.
  EXPECT_THAT(
      failureOf({OpClass::elementwise, DType::bf16, 2e11, 0, 0}, 1'000'000),
      HasSubstr("more than the peak of arithmetic"));
  EXPECT_THAT(
      failureOf({OpClass::elementwise, DType::bf16, 0, 5'000'000'000, 0},
                1'000'000),
      HasSubstr("more than the peak of device memory"));
  OpWork exchange{OpClass::exchange, DType::bf16, 0, 0, 500'000'000};
  EXPECT_THAT(failureOf(exchange, 1'000'000, 8),
              HasSubstr("more than the peak of NVLink"));
  exchange.linkBytes = 100'000'000;
  EXPECT_THAT(failureOf(exchange, 1'000'000, 64),
              HasSubstr("more than the peak of the network"));
  EXPECT_THAT(failureOf({OpClass::gemm, DType::bf16, 1, 0, 0}, 1000),
              HasSubstr("determines no figure"));

  Profile mixed{"p", "simple", {{}, {}}};
  mixed.entries[0].work = {OpClass::gemm, DType::bf16, 1e12, 0, 0};
  mixed.entries[1].work = {OpClass::gemm, DType::f32, 1e12, 0, 0};
  mixed.entries[0].ns = mixed.entries[1].ns = 100'000'000;
  Result<Machine> found = calibrate(base, mixed);
  ASSERT_FALSE(found.ok());
  EXPECT_THAT(found.error().message, HasSubstr("in bf16 and f32"));
  mixed.machine = "other";
  found = calibrate(base, mixed);
  ASSERT_FALSE(found.ok());
  EXPECT_THAT(found.error().message,
              HasSubstr("measured on 'other', but the machine is 'simple'"));
  // Bytes that take no time to add: a slope beyond the peak, though no entry is
  // (each has a large latency).
  Profile flat{"p", "simple", {}};
  for (int64_t bytes : {1'000'000, 2'000'000, 8'000'000}) {
    OpWork work{OpClass::elementwise, DType::bf16, 0, bytes, 0};
    flat.entries.push_back({Kind::op, work, 1, 1'000'000 + bytes / 100'000});
  }
  found = calibrate(base, flat);
  ASSERT_FALSE(found.ok());
  EXPECT_THAT(found.error().message, HasSubstr("hbm.efficiency comes out as"));
}

/// Any profile that can be read either calibrates to a description that can be
/// printed and read back, or gives an error.
TEST(Calibrate, RandomProfilesGiveDescriptionsOrErrors) {
  std::mt19937 random(33);
  size_t accepted = 0;
  for (int round = 0; round < 300; ++round) {
    Profile profile = randomProfile(random);
    Machine base = simpleMachine();
    Result<Machine> found = calibrate(base, profile);
    if (!found) {
      EXPECT_THAT(found.error().message, HasSubstr("measured.json: profile: "));
      continue;
    }
    ++accepted;
    Result<Machine> again = parseMachine(printMachine(*found));
    // The machine of the test has no description.
    EXPECT_TRUE(!again && again.error().message.find("description: must") !=
                              std::string::npos);
    found->description = "test";
    again = parseMachine(printMachine(*found));
    ASSERT_TRUE(again.ok()) << again.error().message;
  }
  EXPECT_GT(accepted, 5u);
}

} // namespace
