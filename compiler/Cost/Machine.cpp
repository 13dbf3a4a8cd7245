#include "compiler/Cost/Machine.h"

#include <nlohmann/json.hpp>

#include <cmath>
#include <limits>
#include <set>
#include <sstream>
#include <type_traits>

namespace moe::cost {

using Json = nlohmann::json;

std::string_view name(OpClass opClass) {
  switch (opClass) {
  case OpClass::gemm:
    return "gemm";
  case OpClass::grouped_gemm:
    return "grouped_gemm";
  case OpClass::attention:
    return "attention";
  case OpClass::elementwise:
    return "elementwise";
  case OpClass::exchange:
    return "exchange";
  }
  return "";
}

std::optional<OpClass> parseOpClass(std::string_view text) {
  for (OpClass opClass :
       {OpClass::gemm, OpClass::grouped_gemm, OpClass::attention,
        OpClass::elementwise, OpClass::exchange})
    if (name(opClass) == text)
      return opClass;
  return std::nullopt;
}

double Machine::peakFlops(DType type) const {
  switch (type) {
  case DType::bf16:
    return bf16FlopsPerSecond;
  case DType::f32:
  case DType::i32:
    return f32FlopsPerSecond;
  case DType::f64:
    return f64FlopsPerSecond;
  }
  return f32FlopsPerSecond;
}

namespace {

/// What a figure may be.
enum class Range : uint8_t {
  positive,
  notNegative,
  share, ///< in (0, 1]
};

std::string printNumber(double value) {
  std::ostringstream stream;
  stream << value;
  return stream.str();
}

/// Reads figures by path. Keeps the first error and the set of paths that were
/// asked for, so that what is left over can be reported as unknown.
class Reader {
public:
  Reader(const Json &document, Machine &machine)
      : document(document), machine(machine) {}

  void text(const std::string &path, std::string &to) {
    const Json *value = find(path);
    if (!value)
      return;
    if (!value->is_string() || value->get_ref<const std::string &>().empty())
      return fail(path, "must be a text that is not empty");
    to = value->get<std::string>();
  }

  template <typename T>
  void figure(const std::string &path, T &to, Range range) {
    const Json *entry = find(path);
    if (!entry)
      return;
    if (!entry->is_object())
      return fail(path, "must be an object with \"value\" and \"source\"");
    for (const auto &[key, unused] : entry->items())
      if (key != "value" && key != "source")
        return fail(path + "." + key,
                    "unknown field; a figure has \"value\" and \"source\"");
    auto source = entry->find("source");
    if (source == entry->end() || !source->is_string() ||
        source->get_ref<const std::string &>().empty())
      return fail(path + ".source",
                  "missing; say where the figure comes from, or \"estimate\" "
                  "and on what grounds");
    auto value = entry->find("value");
    if (value == entry->end())
      return fail(path + ".value", "missing");
    if (std::is_integral_v<T> ? !value->is_number_integer()
                              : !value->is_number())
      return fail(path + ".value", std::is_integral_v<T> ? "must be an integer"
                                                         : "must be a number");
    double number = value->get<double>();
    if (!inRange(number, range) || !fits<T>(*value))
      return fail(path + ".value", std::string("must be ") + describe(range) +
                                       ", is " + printNumber(number));
    to = value->get<T>();
    machine.sources[path] = source->get<std::string>();
  }

  /// Fields that nobody asked for.
  void finish() { findUnknown(document, ""); }

  std::string error;

private:
  static bool inRange(double value, Range range) {
    if (!std::isfinite(value))
      return false;
    switch (range) {
    case Range::positive:
      return value > 0;
    case Range::notNegative:
      return value >= 0;
    case Range::share:
      return value > 0 && value <= 1;
    }
    return false;
  }

  /// Whether the number is held exactly enough; integers beyond 2^62 bytes or
  /// nanoseconds are refused so that sums of a few stay in range.
  template <typename T> static bool fits(const Json &value) {
    if constexpr (std::is_integral_v<T>)
      return std::abs(value.get<double>()) <= 0x1p62;
    return true;
  }

  static const char *describe(Range range) {
    switch (range) {
    case Range::positive:
      return "positive and in range";
    case Range::notNegative:
      return "0 or more and in range";
    case Range::share:
      return "in (0, 1]";
    }
    return "";
  }

  const Json *find(const std::string &path) {
    const Json *node = &document;
    size_t begin = 0;
    while (true) {
      size_t dot = path.find('.', begin);
      std::string prefix = path.substr(0, dot);
      std::string key = path.substr(begin, dot - begin);
      auto child = node->find(key);
      if (child == node->end()) {
        fail(prefix, "missing");
        return nullptr;
      }
      node = &*child;
      known.insert(prefix);
      if (dot == std::string::npos) {
        leaves.insert(path);
        return node;
      }
      if (!node->is_object()) {
        fail(prefix, "must be an object");
        return nullptr;
      }
      begin = dot + 1;
    }
  }

  void findUnknown(const Json &node, const std::string &path) {
    for (const auto &[key, child] : node.items()) {
      std::string childPath = path.empty() ? key : path + "." + key;
      if (!known.count(childPath))
        return fail(childPath, "unknown field");
      if (!leaves.count(childPath) && child.is_object())
        findUnknown(child, childPath);
    }
  }

  void fail(const std::string &path, const std::string &what) {
    if (error.empty())
      error = path + ": " + what;
  }

  const Json &document;
  Machine &machine;
  std::set<std::string> known;  ///< objects and leaves that were asked for
  std::set<std::string> leaves; ///< texts and figures
};

} // namespace

Result<Machine> parseMachine(std::string_view text) {
  // The parser keeps the last of two equal keys; the callback finds them.
  std::vector<std::set<std::string>> keys;
  std::string repeated;
  auto watch = [&](int, Json::parse_event_t event, Json &parsed) {
    if (event == Json::parse_event_t::object_start) {
      keys.emplace_back();
    } else if (event == Json::parse_event_t::object_end) {
      keys.pop_back();
    } else if (event == Json::parse_event_t::key) {
      std::string key = parsed.get<std::string>();
      if (!keys.back().insert(key).second && repeated.empty())
        repeated = key;
    }
    return true;
  };
  Json document = Json::parse(text.begin(), text.end(), watch,
                              /*allow_exceptions=*/false);
  if (document.is_discarded())
    return Error{"machine description: not valid JSON"};
  if (!document.is_object())
    return Error{"machine description: must be a JSON object"};
  if (!repeated.empty())
    return Error{"machine description: field \"" + repeated +
                 "\" appears twice in one object"};

  Machine machine;
  Reader reader(document, machine);
  reader.text("name", machine.name);
  reader.text("description", machine.description);
  reader.figure("memory_bytes", machine.memoryBytes, Range::positive);
  reader.figure("reserve_bytes", machine.reserveBytes, Range::notNegative);
  reader.figure("flops_per_second.bf16", machine.bf16FlopsPerSecond,
                Range::positive);
  reader.figure("flops_per_second.f32", machine.f32FlopsPerSecond,
                Range::positive);
  reader.figure("flops_per_second.f64", machine.f64FlopsPerSecond,
                Range::positive);
  for (size_t i = 0; i < kComputeClassCount; ++i)
    reader.figure("efficiency." + std::string(name(static_cast<OpClass>(i))),
                  machine.efficiency[i], Range::share);
  reader.figure("hbm.bytes_per_second", machine.hbmBytesPerSecond,
                Range::positive);
  reader.figure("hbm.efficiency", machine.hbmEfficiency, Range::share);
  reader.figure("nvlink.domain_size", machine.nvlinkDomain, Range::positive);
  reader.figure("nvlink.bytes_per_second", machine.nvlinkBytesPerSecond,
                Range::positive);
  reader.figure("nvlink.efficiency", machine.nvlinkEfficiency, Range::share);
  reader.figure("nvlink.latency_ns", machine.nvlinkLatencyNs,
                Range::notNegative);
  reader.figure("network.bytes_per_second", machine.networkBytesPerSecond,
                Range::positive);
  reader.figure("network.efficiency", machine.networkEfficiency, Range::share);
  reader.figure("network.latency_ns", machine.networkLatencyNs,
                Range::notNegative);
  reader.figure("host_link.to_device_bytes_per_second",
                machine.hostToDeviceBytesPerSecond, Range::positive);
  reader.figure("host_link.to_host_bytes_per_second",
                machine.deviceToHostBytesPerSecond, Range::positive);
  reader.figure("host_link.combined_bytes_per_second",
                machine.hostCombinedBytesPerSecond, Range::positive);
  reader.figure("kernel_latency_ns", machine.kernelLatencyNs,
                Range::notNegative);
  reader.finish();
  if (!reader.error.empty())
    return Error{"machine description: " + reader.error};
  if (machine.reserveBytes >= machine.memoryBytes)
    return Error{"machine description: reserve_bytes: must be below "
                 "memory_bytes (" +
                 std::to_string(machine.memoryBytes) + "), is " +
                 std::to_string(machine.reserveBytes)};
  return machine;
}

} // namespace moe::cost
