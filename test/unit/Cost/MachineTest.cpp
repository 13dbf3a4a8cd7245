#include "compiler/Cost/Machine.h"

#include <nlohmann/json.hpp>

#include <gmock/gmock.h>

#include <cstdlib>
#include <fstream>
#include <sstream>
#include <unistd.h>

using namespace moe;
using namespace moe::cost;
using testing::HasSubstr;
using Json = nlohmann::json;

namespace {

const std::vector<std::string> kNames = {
    "a100", "b200", "gb200", "gb300", "h100-sxm", "h200-sxm", "h800"};

std::string readText(const std::string &path) {
  std::ifstream file(path);
  std::ostringstream text;
  text << file.rdbuf();
  EXPECT_TRUE(file.good()) << path;
  return text.str();
}

Json goodDocument() { return Json::parse(readText("machines/h100-sxm.json")); }

std::string failure(const std::string &text) {
  Result<Machine> machine = parseMachine(text);
  return machine.ok() ? "no error" : machine.error().message;
}

/// The error after replacing what `pointer` names.
std::string failureWith(const char *pointer, const Json &value) {
  Json document = goodDocument();
  document[Json::json_pointer(pointer)] = value;
  return failure(document.dump());
}

/// JSON pointers of all figures.
std::vector<std::string> figures(const Json &node, const std::string &path) {
  if (node.is_object() && node.contains("value"))
    return {path};
  std::vector<std::string> list;
  if (node.is_object())
    for (const auto &[key, child] : node.items())
      for (const std::string &figure : figures(child, path + "/" + key))
        list.push_back(figure);
  return list;
}

TEST(Machines, EveryShippedDescriptionLoadsAndIsPlausible) {
  for (const std::string &name : kNames) {
    Result<Machine> machine = loadMachine(name, {"machines"});
    ASSERT_TRUE(machine.ok()) << machine.error().message;
    EXPECT_EQ(machine->name, name);
    EXPECT_EQ(machine->sources.size(), 25u) << "a source for each figure";
    EXPECT_GE(machine->memoryBytes, 80'000'000'000);
    EXPECT_LE(machine->reserveBytes, machine->memoryBytes / 10);
    EXPECT_GT(machine->bf16FlopsPerSecond, machine->f32FlopsPerSecond);
    EXPECT_GT(machine->hbmBytesPerSecond, machine->nvlinkBytesPerSecond);
    EXPECT_GT(machine->nvlinkBytesPerSecond, machine->networkBytesPerSecond);
    // Directions of the host link do not add up beyond their sum.
    EXPECT_LE(machine->hostCombinedBytesPerSecond,
              machine->hostToDeviceBytesPerSecond +
                  machine->deviceToHostBytesPerSecond);
  }
}

TEST(Machines, Peaks) {
  Machine machine = *loadMachine("h100-sxm", {"machines"});
  EXPECT_EQ(machine.peakFlops(DType::bf16), 989.4e12);
  EXPECT_EQ(machine.peakFlops(DType::f32), 67e12);
  EXPECT_EQ(machine.peakFlops(DType::i32), 67e12);
  EXPECT_EQ(machine.peakFlops(DType::f64), 67e12);
  EXPECT_EQ(loadMachine("gb200", {"machines"})->nvlinkDomain, 72);
}

TEST(ParseMachine, EveryFigureIsRequiredAndNeedsASource) {
  Json document = goodDocument();
  for (const std::string &figure : figures(document, "")) {
    std::string path = figure.substr(1);
    for (char &c : path)
      if (c == '/')
        c = '.';
    Json broken = document;
    Json::json_pointer pointer(figure);
    broken[pointer.parent_pointer()].erase(pointer.back());
    // The only figure of an object takes the object along.
    std::string parent = path.substr(0, path.find('.'));
    EXPECT_THAT(failure(broken.dump()),
                testing::AnyOf(HasSubstr(path + ": missing"),
                               HasSubstr(parent + ": missing")));
    broken = document;
    broken[pointer].erase("source");
    EXPECT_THAT(failure(broken.dump()), HasSubstr(path + ".source: missing"));
    broken = document;
    broken[pointer].erase("value");
    EXPECT_THAT(failure(broken.dump()), HasSubstr(path + ".value: missing"));
    broken = document;
    broken[pointer]["value"] = "fast";
    EXPECT_THAT(failure(broken.dump()), HasSubstr(path + ".value: must be"));
    broken = document;
    broken[pointer]["value"] = -1;
    EXPECT_THAT(failure(broken.dump()), HasSubstr(path + ".value: must be"));
    broken = document;
    broken[pointer]["unit"] = "furlongs";
    EXPECT_THAT(failure(broken.dump()), HasSubstr(path + ".unit: unknown"));
    broken = document;
    broken[pointer] = 1;
    EXPECT_THAT(failure(broken.dump()),
                HasSubstr(path + ": must be an object"));
  }
}

TEST(ParseMachine, ErrorsNameTheField) {
  EXPECT_EQ(failureWith("/hbm/efficiency/value", 1.2),
            "machine description: hbm.efficiency.value: must be in (0, 1], is "
            "1.2");
  EXPECT_THAT(failureWith("/memory_bytes/value", 0),
              HasSubstr("memory_bytes.value: must be positive"));
  EXPECT_THAT(failureWith("/memory_bytes/value", 1.5e9),
              HasSubstr("memory_bytes.value: must be an integer"));
  EXPECT_THAT(failureWith("/memory_bytes/value", 18446744073709551615u),
              HasSubstr("memory_bytes.value: must be positive and in range"));
  EXPECT_THAT(failureWith("/nvlink/domain_size/value", 0),
              HasSubstr("nvlink.domain_size.value"));
  EXPECT_THAT(failureWith("/reserve_bytes/value", int64_t{1} << 40),
              HasSubstr("reserve_bytes: must be below memory_bytes"));
  EXPECT_THAT(failureWith("/name", 3), HasSubstr("name: must be a text"));
  EXPECT_THAT(failureWith("/name", ""), HasSubstr("name: must be a text"));
  EXPECT_THAT(failureWith("/hbm", 3), HasSubstr("hbm: must be an object"));
  EXPECT_THAT(failureWith("/colour", "green"),
              HasSubstr("colour: unknown field"));
  const char *gemm = "/efficiency/gemm/value";
  EXPECT_THAT(failureWith(gemm, 1.5),
              HasSubstr("efficiency.gemm.value: must be in (0, 1], is 1.5"));
  EXPECT_THAT(failureWith(gemm, Json::array()),
              HasSubstr("efficiency.gemm.value: needs at least one size"));
  for (const char *text : {"[1]", "[[1, 2, 3]]", "[[1, \"a\"]]", "{}", "null"})
    EXPECT_THAT(failureWith(gemm, Json::parse(text)),
                HasSubstr("efficiency.gemm.value: must be a number, or a list "
                          "of [size, share] pairs"))
        << text;
  EXPECT_THAT(failureWith(gemm, Json::parse("[[2, 0.5], [1, 0.6]]")),
              HasSubstr("efficiency.gemm.value: sizes must rise; 1 follows 2"));
  EXPECT_THAT(failureWith(gemm, Json::parse("[[1, 0.1], [2, 0.5]]")),
              HasSubstr("grows faster than the size from 1 to 2"));
  EXPECT_THAT(failureWith("/exchange/copies/value", "token"),
              HasSubstr("exchange.copies.value: must be \"choice\", \"rank\" "
                        "or \"node\""));
  EXPECT_THAT(failureWith("/efficiency/fft", Json::object()),
              HasSubstr("efficiency.fft: unknown field"));
}

TEST(PrintMachine, IsReadBack) {
  for (const std::string &name : kNames) {
    Machine machine = *loadMachine(name, {"machines"});
    Result<Machine> again = parseMachine(printMachine(machine));
    ASSERT_TRUE(again.ok()) << again.error().message;
    EXPECT_EQ(*again, machine);
  }
  Machine machine = *loadMachine("a100", {"machines"});
  machine.efficiency[0] = Efficiency(std::vector<Efficiency::Point>{{7, 0.5}});
  machine.efficiency[1] = Efficiency(0.25);
  EXPECT_EQ(*parseMachine(printMachine(machine)), machine);
}

TEST(ParseMachine, BrokenText) {
  EXPECT_THAT(failure(""), HasSubstr("not valid JSON"));
  EXPECT_THAT(failure("{\"name\": "), HasSubstr("not valid JSON"));
  EXPECT_THAT(failure("[1, 2]"), HasSubstr("must be a JSON object"));
  EXPECT_THAT(failure("{\"name\": 1e999}"), HasSubstr("machine description"));
  std::string text = readText("machines/h100-sxm.json");
  text.insert(1, "\"name\": \"other\",");
  EXPECT_THAT(failure(text), HasSubstr("field \"name\" appears twice"));
  // Every truncation fails, none crashes.
  for (size_t length = 0; length < text.size() - 2; length += 7)
    EXPECT_FALSE(parseMachine(text.substr(0, length)).ok());
}

TEST(LoadMachine, UnknownNamesListTheKnownOnes) {
  Result<Machine> machine = loadMachine("h1000", {"nowhere", "machines"});
  ASSERT_FALSE(machine.ok());
  EXPECT_THAT(machine.error().message,
              HasSubstr("unknown machine 'h1000'; known: a100, b200, gb200, "
                        "gb300, h100-sxm, h200-sxm, h800"));
  machine = loadMachine("h100-sxm", {"nowhere"});
  ASSERT_FALSE(machine.ok());
  EXPECT_THAT(machine.error().message, HasSubstr("set MOE_MACHINES"));
  machine = loadMachine("./missing.json", {"machines"});
  ASSERT_FALSE(machine.ok());
  EXPECT_THAT(machine.error().message, HasSubstr("no file './missing.json'"));
}

TEST(LoadMachine, PathsAndErrorsInFiles) {
  EXPECT_TRUE(loadMachine("machines/a100.json", {}).ok());
  std::string path =
      testing::TempDir() + "machine_test_" + std::to_string(getpid()) + ".json";
  std::ofstream(path) << "{}";
  Result<Machine> machine = loadMachine(path, {});
  ASSERT_FALSE(machine.ok());
  EXPECT_EQ(machine.error().message,
            path + ": machine description: name: missing");
  std::remove(path.c_str());
}

TEST(LoadMachine, TheEnvironmentComesFirst) {
  ASSERT_EQ(setenv("MOE_MACHINES", "/first::/second", 1), 0);
  std::vector<std::string> directories = machineDirectories();
  ASSERT_GE(directories.size(), 2u);
  EXPECT_EQ(directories[0], "/first");
  EXPECT_EQ(directories[1], "/second");
  unsetenv("MOE_MACHINES");
  EXPECT_TRUE(loadMachine("h100-sxm", machineDirectories()).ok());
}

} // namespace
