//===- moe-profile.cpp - measures a CUDA device for the cost model --------===//

#include "compiler/Cost/Profile.h"
#include "support/Files.h"
#include "tools/Validators.h"
#include "tools/moe-profile/DeviceBench.h"

#include <cstdio>

using namespace moe;

namespace {

enum ExitCode { kDone = 0, kFailed = 1, kBadInput = 2 };

struct Arguments {
  std::string machine, output;
  int device = 0;
  bool quick = false;
};

int fail(ExitCode code, const std::string &message) {
  std::fflush(stdout);
  std::fprintf(stderr, "moe-profile: error: %s\n", message.c_str());
  return code;
}

/// Products of dense layers: 4096 tokens through matrices of published models,
/// and smaller and larger ones.
constexpr Product kProducts[] = {
    {512, 768, 1024},   {1024, 1024, 2048},  {4096, 576, 7168},
    {4096, 1536, 7168}, {4096, 768, 2048},   {4096, 2048, 4096},
    {4096, 4096, 7168}, {4096, 24576, 1536}, {8192, 8192, 8192}};
/// Rows that each of eight experts gets, through DeepSeek-V3's and
/// Qwen3-30B-A3B's matrices.
constexpr Product kGroups[] = {{64, 4096, 7168, 8},   {128, 4096, 7168, 8},
                               {512, 4096, 7168, 8},  {2048, 4096, 7168, 8},
                               {4096, 2048, 7168, 4}, {128, 1536, 2048, 16},
                               {512, 1536, 2048, 16}, {2048, 768, 2048, 16}};
constexpr int64_t kSums[] = {1 << 18, 1 << 21, 1 << 24, 1 << 27};
constexpr int64_t kCopies[] = {16 << 20, 64 << 20, 256 << 20};

cost::ProfileEntry entryOf(cost::OpClass opClass, DType dtype, double flops,
                           int64_t bytes, int64_t parts) {
  cost::ProfileEntry entry;
  entry.work.opClass = opClass;
  entry.work.dtype = dtype;
  entry.work.flops = flops;
  entry.work.bytes = bytes;
  entry.work.parts = parts;
  return entry;
}

/// Measures, and prints a line for each measurement.
class Profiler {
public:
  Profiler(DeviceBench &bench, const Arguments &arguments) : bench(bench) {
    profile.source = arguments.output;
    profile.machine = arguments.machine;
  }

  Status run(bool quick) {
    for (const Product &product : kProducts)
      MOE_RETURN_IF_ERROR(addProduct(cost::OpClass::gemm, product));
    for (const Product &product : kGroups)
      MOE_RETURN_IF_ERROR(addProduct(cost::OpClass::grouped_gemm, product));
    for (int64_t floats : kSums) {
      // Two vectors are read and one is written.
      MOE_RETURN_IF_ERROR(
          add(entryOf(cost::OpClass::elementwise, DType::f32,
                      2.0 * static_cast<double>(floats), 3 * 4 * floats, 1),
              "sum of vectors", bench.sumNs(floats)));
      if (quick)
        break;
    }
    for (int64_t bytes : kCopies) {
      cost::ProfileEntry entry;
      entry.work.bytes = bytes;
      entry.kind = cost::ProfileEntry::Kind::to_device;
      MOE_RETURN_IF_ERROR(
          add(entry, "to device", bench.copyNs(Direction::toDevice, bytes)));
      entry.kind = cost::ProfileEntry::Kind::to_host;
      MOE_RETURN_IF_ERROR(
          add(entry, "to host", bench.copyNs(Direction::toHost, bytes)));
      if (quick)
        break;
    }
    return {};
  }

  cost::Profile profile;

private:
  Status addProduct(cost::OpClass opClass, const Product &product) {
    const std::string label =
        (product.count > 1 ? std::to_string(product.count) + " x " : "") +
        std::to_string(product.rows) + "x" + std::to_string(product.columns) +
        "x" + std::to_string(product.depth);
    return add(entryOf(opClass, DType::bf16, product.flops(), product.bytes(),
                       product.count),
               label, bench.productNs(product));
  }

  Status add(cost::ProfileEntry entry, const std::string &label,
             Result<int64_t> ns) {
    if (!ns)
      return Error{label + ": " + ns.error().message};
    entry.ns = *ns;
    const auto time = static_cast<double>(*ns);
    std::printf("  %-24s %10.1f us %8.1f TFLOP/s %8.1f GB/s\n", label.c_str(),
                time / 1e3, entry.work.flops / time / 1e3,
                static_cast<double>(entry.work.bytes) / time);
    std::fflush(stdout);
    profile.entries.push_back(entry);
    return {};
  }

  DeviceBench &bench;
};

int run(const Arguments &arguments) {
  Result<cost::Machine> machine =
      cost::loadMachine(arguments.machine, cost::machineDirectories());
  if (!machine)
    return fail(kBadInput, machine.error().message);
  if (Status possible = checkOutputs({{"--output", arguments.output}},
                                     {{"--machine", arguments.machine}});
      !possible)
    return fail(kBadInput, possible.error().message);
  Result<DeviceBench> bench = DeviceBench::make(arguments.device);
  if (!bench)
    return fail(kBadInput, bench.error().message);
  std::printf("%s, for the description '%s'\n", bench->deviceName().c_str(),
              machine->name.c_str());
  Profiler profiler(*bench, arguments);
  profiler.profile.machine = machine->name;
  if (Status status = profiler.run(arguments.quick); !status)
    return fail(kFailed, status.error().message);
  Result<int64_t> bothWays = bench->bothWays(kCopies[2]);
  if (!bothWays)
    return fail(kFailed, "both ways: " + bothWays.error().message);
  // What a profile does not hold.
  std::printf("for the description itself:\n"
              "  host_link.combined_bytes_per_second  %lld\n"
              "  memory_bytes                         %lld\n"
              "  of reserve_bytes, context and cuBLAS %lld\n",
              static_cast<long long>(*bothWays),
              static_cast<long long>(bench->memoryBytes()),
              static_cast<long long>(bench->contextBytes()));
  if (Status written =
          writeFile(arguments.output, cost::printProfile(profiler.profile));
      !written)
    return fail(kFailed, written.error().message);
  // Says what does not go with the description, an unknown device at worst.
  if (Result<cost::Machine> made = cost::calibrate(*machine, profiler.profile);
      !made)
    return fail(kFailed,
                arguments.output + " is written, but '" + machine->name +
                    "' cannot be calibrated from it: " + made.error().message);
  std::printf("%zu measurements written to %s; plan with them: moe-plan "
              "--machine %s --profile %s ...\n",
              profiler.profile.entries.size(), arguments.output.c_str(),
              arguments.machine.c_str(), arguments.output.c_str());
  return kDone;
}

} // namespace

int main(int argc, char **argv) {
  CLI::App app{"Measures a CUDA device: products, memory and the host link, as "
               "a profile\nthat moe-plan --profile calibrates a machine "
               "description from. Attention and\nexchanges are not measured.",
               "moe-profile"};
  Arguments arguments;
  app.add_option("--machine", arguments.machine,
                 "The description that the device belongs to: a name or a path")
      ->required()
      ->check(notEmpty());
  app.add_option("-o,--output", arguments.output, "The profile, JSON")
      ->required()
      ->check(notEmpty());
  app.add_option("--device", arguments.device, "Number of the device")
      ->check(CLI::Range(0, 1023))
      ->capture_default_str();
  app.add_flag("--quick", arguments.quick,
               "One size of vectors and copies each: a test, not a profile");
  app.footer("Exit codes: 0 measured; 1 the device failed, or does not go with "
             "the description;\n2 bad usage, or no device.");
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError &error) {
    const int code = app.exit(error);
    return code == 0 ? kDone : kBadInput;
  }
  int code = run(arguments);
  if (Status flushed = flushStandardOutput(); !flushed)
    return fail(code == kDone ? kFailed : static_cast<ExitCode>(code),
                flushed.error().message);
  return code;
}
