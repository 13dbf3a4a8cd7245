// Machine descriptions as JSON.
#include "compiler/Cost/Machine.h"
#include "compiler/Cost/StrictJson.h"

#include <cmath>
#include <limits>
#include <set>
#include <sstream>
#include <type_traits>

namespace moe::cost {

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
    const Json *value = valueOf(path);
    if (!value)
      return;
    if (std::is_integral_v<T> ? !value->is_number_integer()
                              : !value->is_number())
      return fail(path + ".value", std::is_integral_v<T> ? "must be an integer"
                                                         : "must be a number");
    double number = value->get<double>();
    if (!inRange(number, range) || !fits<T>(*value))
      return fail(path + ".value", std::string("must be ") + describe(range) +
                                       ", is " + printNumber(number));
    to = value->get<T>();
  }

  void figure(const std::string &path, Efficiency &to) {
    const Json *value = valueOf(path);
    if (!value)
      return;
    if (value->is_number()) {
      to = Efficiency(value->get<double>());
    } else {
      const char *shape = "must be a number, or a list of [size, share] pairs";
      if (!value->is_array())
        return fail(path + ".value", shape);
      to.points.clear();
      for (const Json &pair : *value) {
        if (!pair.is_array() || pair.size() != 2 || !pair[0].is_number() ||
            !pair[1].is_number())
          return fail(path + ".value", shape);
        to.points.push_back({pair[0].get<double>(), pair[1].get<double>()});
      }
    }
    if (std::string problem = to.problem(); !problem.empty())
      fail(path + ".value", problem);
  }

  void figure(const std::string &path, Copies &to) {
    const Json *value = valueOf(path);
    if (!value)
      return;
    std::optional<Copies> copies =
        value->is_string() ? parseCopies(value->get_ref<const std::string &>())
                           : std::nullopt;
    if (!copies)
      return fail(path + ".value", "must be \"choice\", \"rank\" or \"node\"");
    to = *copies;
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

  /// The value of the figure at `path`, whose source is noted; null with an
  /// error when there is no such figure.
  const Json *valueOf(const std::string &path) {
    const Json *entry = find(path);
    if (!entry)
      return nullptr;
    auto failed = [&](const std::string &where, const char *what) {
      fail(where, what);
      return nullptr;
    };
    if (!entry->is_object())
      return failed(path, "must be an object with \"value\" and \"source\"");
    for (const auto &[key, unused] : entry->items())
      if (key != "value" && key != "source")
        return failed(path + "." + key,
                      "unknown field; a figure has \"value\" and \"source\"");
    auto source = entry->find("source");
    if (source == entry->end() || !source->is_string() ||
        source->get_ref<const std::string &>().empty())
      return failed(path + ".source",
                    "missing; say where the figure comes from, or \"estimate\" "
                    "and on what grounds");
    auto value = entry->find("value");
    if (value == entry->end())
      return failed(path + ".value", "missing");
    machine.sources[path] = source->get<std::string>();
    return &*value;
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

/// Writes what Reader reads.
class Writer {
public:
  explicit Writer(const Machine &machine) : machine(machine) {}

  void text(const std::string &path, const std::string &from) {
    document[path] = from;
  }
  template <typename T>
  void figure(const std::string &path, const T &from, Range) {
    put(path, from);
  }
  void figure(const std::string &path, const Efficiency &from) {
    if (from.points.size() == 1 && from.points.front().size == 1)
      return put(path, from.points.front().share);
    nlohmann::ordered_json list = nlohmann::ordered_json::array();
    for (const Efficiency::Point &point : from.points)
      list.push_back({point.size, point.share});
    put(path, list);
  }
  void figure(const std::string &path, const Copies &from) {
    put(path, name(from));
  }

  nlohmann::ordered_json document;

private:
  template <typename T> void put(const std::string &path, const T &value) {
    auto source = machine.sources.find(path);
    nlohmann::ordered_json *node = &document;
    size_t begin = 0, dot;
    while ((dot = path.find('.', begin)) != std::string::npos) {
      node = &(*node)[path.substr(begin, dot - begin)];
      begin = dot + 1;
    }
    (*node)[path.substr(begin)] = {{"value", value},
                                   {"source", source == machine.sources.end()
                                                  ? "not stated"
                                                  : source->second}};
  }

  const Machine &machine;
};

/// Names every field of a description, in the order of the file.
template <typename Visitor, typename M> void visit(Visitor &to, M &machine) {
  to.text("name", machine.name);
  to.text("description", machine.description);
  to.figure("memory_bytes", machine.memoryBytes, Range::positive);
  to.figure("reserve_bytes", machine.reserveBytes, Range::notNegative);
  to.figure("host_memory_bytes", machine.hostMemoryBytes, Range::positive);
  to.figure("flops_per_second.bf16", machine.bf16FlopsPerSecond,
            Range::positive);
  to.figure("flops_per_second.f32", machine.f32FlopsPerSecond, Range::positive);
  to.figure("flops_per_second.f64", machine.f64FlopsPerSecond, Range::positive);
  for (size_t i = 0; i < kComputeClassCount; ++i)
    to.figure("efficiency." + std::string(name(static_cast<OpClass>(i))),
              machine.efficiency[i]);
  to.figure("hbm.bytes_per_second", machine.hbmBytesPerSecond, Range::positive);
  to.figure("hbm.efficiency", machine.hbmEfficiency, Range::share);
  to.figure("nvlink.domain_size", machine.nvlinkDomain, Range::positive);
  to.figure("nvlink.bytes_per_second", machine.nvlinkBytesPerSecond,
            Range::positive);
  to.figure("nvlink.efficiency", machine.nvlinkEfficiency, Range::share);
  to.figure("nvlink.latency_ns", machine.nvlinkLatencyNs, Range::notNegative);
  to.figure("network.bytes_per_second", machine.networkBytesPerSecond,
            Range::positive);
  to.figure("network.efficiency", machine.networkEfficiency, Range::share);
  to.figure("network.latency_ns", machine.networkLatencyNs, Range::notNegative);
  to.figure("exchange.copies", machine.copies);
  to.figure("host_link.to_device_bytes_per_second",
            machine.hostToDeviceBytesPerSecond, Range::positive);
  to.figure("host_link.to_host_bytes_per_second",
            machine.deviceToHostBytesPerSecond, Range::positive);
  to.figure("host_link.combined_bytes_per_second",
            machine.hostCombinedBytesPerSecond, Range::positive);
  to.figure("host_link.devices", machine.hostLinkDevices, Range::positive);
  to.figure("kernel_latency_ns", machine.kernelLatencyNs, Range::notNegative);
}

} // namespace

Result<Machine> parseMachine(std::string_view text) {
  Result<Json> document = parseStrictJson(text, "machine description");
  if (!document)
    return document.error();
  Machine machine;
  Reader reader(*document, machine);
  visit(reader, machine);
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

std::string printMachine(const Machine &machine) {
  Writer writer(machine);
  visit(writer, machine);
  // A source may name a file whose name is no UTF-8.
  return writer.document.dump(2, ' ', false,
                              nlohmann::json::error_handler_t::replace) +
         "\n";
}

} // namespace moe::cost
