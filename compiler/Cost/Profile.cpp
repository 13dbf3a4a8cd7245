#include "compiler/Cost/Profile.h"
#include "compiler/Cost/StrictJson.h"

#include <algorithm>
#include <array>
#include <fstream>
#include <set>
#include <sstream>
#include <utility>

namespace moe::cost {

namespace {

/// Largest integer that every reader of JSON holds exactly.
constexpr double kLargest = 0x1p53;

/// Reads the fields of one object; keeps the first error.
class Fields {
public:
  Fields(const Json &object, std::string path)
      : object(object), path(std::move(path)) {
    if (!object.is_object())
      fail("", "must be an object");
  }

  bool has(const char *field) const {
    return object.is_object() && object.contains(field);
  }

  /// The member, or null with an error.
  const Json *find(const char *field) {
    if (!has(field)) {
      fail(field, "missing");
      return nullptr;
    }
    known.insert(field);
    return &object[field];
  }

  void integer(const char *field, int64_t &to, int64_t least) {
    const Json *value = find(field);
    if (!value)
      return;
    if (!value->is_number_integer())
      return fail(field, "must be an integer");
    double number = value->get<double>();
    if (number < static_cast<double>(least) || number > kLargest)
      return fail(field, least > 0 ? "must be positive and in range"
                                   : "must be 0 or more and in range");
    to = value->get<int64_t>();
  }

  void number(const char *field, double &to) {
    const Json *value = find(field);
    if (!value)
      return;
    // Beyond 1e30 operations, nanoseconds would leave their range.
    double number = value->is_number() ? value->get<double>() : -1;
    if (number != 0 && !(number >= 1 && number <= 1e30))
      return fail(field, "must be a number, 0 or between 1 and 1e30");
    to = number;
  }

  std::string text(const char *field) {
    const Json *value = find(field);
    if (!value)
      return "";
    if (!value->is_string()) {
      fail(field, "must be a text");
      return "";
    }
    return value->get<std::string>();
  }

  /// Members that nobody asked for.
  void finish() {
    if (!object.is_object())
      return;
    for (const auto &[key, unused] : object.items())
      if (!known.contains(key))
        return fail(key, "unknown field, or one that does not go with the "
                         "class of the entry");
  }

  void fail(const std::string &field, const std::string &what) {
    if (error.empty())
      error = path + (path.empty() || field.empty() ? "" : ".") + field + ": " +
              what;
  }

  std::string error;

private:
  const Json &object;
  std::string path;
  std::set<std::string> known;
};

constexpr std::array<std::pair<std::string_view, OpClass>, 30> kKinds = {{
    {"add", OpClass::elementwise},
    {"attention", OpClass::attention},
    {"attention_input_grad", OpClass::attention},
    {"attention_sink_grad", OpClass::elementwise},
    {"combine", OpClass::exchange},
    {"combine_input_grad", OpClass::exchange},
    {"cross_entropy", OpClass::elementwise},
    {"cross_entropy_input_grad", OpClass::elementwise},
    {"dispatch", OpClass::exchange},
    {"dispatch_input_grad", OpClass::exchange},
    {"embedding", OpClass::elementwise},
    {"embedding_weight_grad", OpClass::elementwise},
    {"grouped_linear", OpClass::grouped_gemm},
    {"grouped_linear_bias_scale_grad", OpClass::elementwise},
    {"grouped_linear_input_grad", OpClass::grouped_gemm},
    {"grouped_linear_weight_grad", OpClass::grouped_gemm},
    {"linear", OpClass::gemm},
    {"linear_input_grad", OpClass::gemm},
    {"linear_weight_grad", OpClass::gemm},
    {"mla_key", OpClass::elementwise},
    {"mla_key_input_grad", OpClass::elementwise},
    {"rms_norm", OpClass::elementwise},
    {"rms_norm_input_grad", OpClass::elementwise},
    {"rms_norm_weight_grad", OpClass::elementwise},
    {"rope", OpClass::elementwise},
    {"rope_input_grad", OpClass::elementwise},
    {"route", OpClass::elementwise},
    {"route_input_grad", OpClass::elementwise},
    {"swiglu", OpClass::elementwise},
    {"swiglu_input_grad", OpClass::elementwise},
}};

std::string_view name(ProfileEntry::Kind kind) {
  return kind == ProfileEntry::Kind::to_device ? "to_device" : "to_host";
}

void readFanout(Fields &entry, const std::string &path, Fanout &to) {
  const Json *object = entry.find("routing");
  if (!object)
    return;
  Fields fields(*object, path + ".routing");
  fields.integer("tokens", to.tokens, 1);
  fields.integer("row_bytes", to.rowBytes, 1);
  fields.integer("top_k", to.routing.topK, 1);
  fields.integer("experts", to.routing.experts, 1);
  if (fields.has("groups"))
    fields.integer("groups", to.routing.groups, 1);
  if (fields.has("top_groups"))
    fields.integer("top_groups", to.routing.topGroups, 1);
  fields.finish();
  if (fields.error.empty())
    if (std::string what = problem(to.routing); !what.empty())
      fields.fail("", what);
  if (!fields.error.empty() && entry.error.empty())
    entry.error = fields.error;
}

/// The fields of an exchange or of a compute op.
void readWork(Fields &fields, const std::string &path, ProfileEntry &entry) {
  OpWork &work = entry.work;
  if (work.opClass == OpClass::exchange) {
    if (fields.has("bytes"))
      fields.integer("bytes", work.bytes, 0);
    fields.integer("group_size", entry.groupSize, 2);
    if (fields.has("routing")) {
      readFanout(fields, path, work.fanout);
      if (fields.error.empty() &&
          work.fanout.routing.experts % entry.groupSize != 0)
        fields.fail("group_size",
                    "must divide the experts of routing, " +
                        std::to_string(work.fanout.routing.experts));
    } else {
      fields.integer("link_bytes", work.linkBytes, 1);
    }
    return;
  }
  std::string type = fields.text("dtype");
  std::optional<DType> dtype = parseDType(type);
  if (!dtype || *dtype == DType::i32)
    fields.fail("dtype", "must be \"bf16\", \"f32\" or \"f64\"");
  else
    work.dtype = *dtype;
  fields.number("flops", work.flops);
  fields.integer("bytes", work.bytes, 0);
  if (fields.has("parts"))
    fields.integer("parts", work.parts, 1);
}

std::string readEntry(const Json &object, const std::string &path,
                      ProfileEntry &entry) {
  Fields fields(object, path);
  if (fields.has("kind")) {
    std::string kind = fields.text("kind");
    std::optional<OpClass> opClass = classOfKind(kind);
    if (opClass)
      entry.work.opClass = *opClass;
    else
      fields.fail("kind", "'" + kind +
                              "' is no kind of op of a plan; see "
                              "docs/kernels.md");
  } else {
    std::string word = fields.text("class");
    std::optional<OpClass> opClass = parseOpClass(word);
    if (opClass)
      entry.work.opClass = *opClass;
    else if (word == name(ProfileEntry::Kind::to_device))
      entry.kind = ProfileEntry::Kind::to_device;
    else if (word == name(ProfileEntry::Kind::to_host))
      entry.kind = ProfileEntry::Kind::to_host;
    else
      fields.fail("class", "must be one of gemm, grouped_gemm, attention, "
                           "elementwise, exchange, to_device, to_host");
  }
  if (fields.error.empty()) {
    if (entry.kind == ProfileEntry::Kind::op)
      readWork(fields, path, entry);
    else
      fields.integer("bytes", entry.work.bytes, 1);
    fields.integer("ns", entry.ns, 1);
    fields.finish();
  }
  return fields.error;
}

} // namespace

std::optional<OpClass> classOfKind(std::string_view kind) {
  for (const auto &[each, opClass] : kKinds)
    if (each == kind)
      return opClass;
  return std::nullopt;
}

Result<Profile> parseProfile(std::string_view text, std::string source) {
  const std::string prefix = "profile";
  Result<Json> document = parseStrictJson(text, prefix);
  if (!document)
    return document.error();
  Profile profile;
  profile.source = std::move(source);
  Fields fields(*document, "");
  int64_t format = 0;
  fields.integer("format", format, 1);
  if (fields.error.empty() && format != 1)
    fields.fail("format", "is " + std::to_string(format) +
                              "; this program reads format 1");
  profile.machine = fields.text("machine");
  const Json *entries = fields.find("entries");
  fields.finish();
  if (!fields.error.empty())
    return Error{prefix + ": " + fields.error};
  if (!entries->is_array() || entries->empty())
    return Error{prefix + ": entries: must be a list of at least one entry"};
  for (size_t i = 0; i < entries->size(); ++i) {
    ProfileEntry entry;
    std::string error =
        readEntry((*entries)[i], "entries[" + std::to_string(i) + "]", entry);
    if (!error.empty())
      return Error{prefix + ": " + error};
    profile.entries.push_back(entry);
  }
  return profile;
}

Result<Profile> readProfile(const std::string &path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  text << file.rdbuf();
  if (!file || !text)
    return Error{path + ": profile: cannot be read, or is empty"};
  Result<Profile> profile = parseProfile(text.str(), path);
  if (!profile)
    return Error{path + ": " + profile.error().message};
  return profile;
}

std::string printProfile(const Profile &profile) {
  using Object = nlohmann::ordered_json;
  Object list = Object::array();
  for (const ProfileEntry &entry : profile.entries) {
    const OpWork &work = entry.work;
    Object object;
    if (entry.kind != ProfileEntry::Kind::op) {
      object["class"] = name(entry.kind);
      object["bytes"] = work.bytes;
    } else if (work.opClass == OpClass::exchange) {
      object["class"] = name(work.opClass);
      object["bytes"] = work.bytes;
      object["group_size"] = entry.groupSize;
      const Fanout &fanout = work.fanout;
      if (fanout.tokens > 0)
        object["routing"] = {{"tokens", fanout.tokens},
                             {"row_bytes", fanout.rowBytes},
                             {"top_k", fanout.routing.topK},
                             {"experts", fanout.routing.experts},
                             {"groups", fanout.routing.groups},
                             {"top_groups", fanout.routing.topGroups}};
      else
        object["link_bytes"] = work.linkBytes;
    } else {
      object["class"] = name(work.opClass);
      object["dtype"] = name(work.dtype);
      object["flops"] = work.flops;
      object["bytes"] = work.bytes;
      object["parts"] = work.parts;
    }
    object["ns"] = entry.ns;
    list.push_back(std::move(object));
  }
  Object document = {{"format", 1}, {"machine", profile.machine}};
  document["entries"] = std::move(list);
  return document.dump(1, ' ', false,
                       nlohmann::json::error_handler_t::replace) +
         "\n";
}

} // namespace moe::cost
