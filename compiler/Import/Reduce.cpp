//===- Reduce.cpp - smaller models of the same architecture ---------------===//

#include "compiler/Import/Checks.h"
#include "compiler/Import/ModelConfig.h"
#include "support/Words.h"

#include <charconv>
#include <cmath>
#include <functional>
#include <map>
#include <optional>

namespace moe::model {

namespace {

/// One key: the value that the model has now (none: the key does not apply)
/// and how to give it another.
struct Reduction {
  std::string_view key;
  std::string_view what; ///< what the model lacks where the key does not apply
  int64_t minimum;
  std::function<std::optional<int64_t>(const ModelConfig &)> read;
  std::function<void(ModelConfig &, int64_t)> write;
};

} // namespace

/// Calls `body` on the attention or network `T` of every layer that has one.
template <typename T, typename Config, typename Body>
static void forEach(Config &config, Body body) {
  for (auto *layers : {&config.layers, &config.mtpLayers})
    for (auto &layer : *layers) {
      if constexpr (std::is_same_v<T, Gqa> || std::is_same_v<T, Mla>) {
        if (auto *attention = std::get_if<T>(&layer.attention))
          body(*attention);
      } else {
        if (auto *ffn = std::get_if<T>(&layer.ffn))
          body(*ffn);
      }
    }
}

/// A key that stands for one dimension of every `T`. Layers that have zero
/// there lack the feature and keep lacking it.
template <typename T, typename Get>
static Reduction dimension(std::string_view key, std::string_view what,
                           Get get) {
  return {key, what, 1,
          [get](const ModelConfig &config) {
            std::optional<int64_t> value;
            forEach<T>(config, [&](const T &t) {
              if (int64_t v = get(t); v > 0)
                value = std::max(value.value_or(0), v);
            });
            return value;
          },
          [get](ModelConfig &config, int64_t value) {
            forEach<T>(config, [&](T &t) {
              if (get(t) > 0)
                get(t) = value;
            });
          }};
}

static int64_t leadingDense(const ModelConfig &config) {
  int64_t count = 0;
  while (count < static_cast<int64_t>(config.layers.size()) &&
         std::holds_alternative<Dense>(
             config.layers[static_cast<size_t>(count)].ffn))
    ++count;
  return count;
}

static Reduction firstDense() {
  return {"first_dense", "leading dense layers", 0,
          [](const ModelConfig &config) {
            int64_t count = leadingDense(config);
            return count ? std::optional(count) : std::nullopt;
          },
          [](ModelConfig &config, int64_t value) {
            size_t count = static_cast<size_t>(leadingDense(config));
            if (count == config.layers.size())
              return;
            // The layers that are dense no more get the experts of the first
            // layer that has some.
            const Ffn experts = config.layers[count].ffn;
            for (size_t i = static_cast<size_t>(value); i < count; ++i)
              config.layers[i].ffn = experts;
          }};
}

static Reduction layerCount(std::string_view key, std::string_view what,
                            int64_t minimum,
                            std::vector<Layer> ModelConfig::*layers) {
  return {key, what, minimum,
          [layers](const ModelConfig &config) {
            auto count = static_cast<int64_t>((config.*layers).size());
            return count ? std::optional(count) : std::nullopt;
          },
          [layers](ModelConfig &config, int64_t value) {
            (config.*layers).resize(static_cast<size_t>(value));
          }};
}

static Reduction modelDimension(std::string_view key,
                                int64_t ModelConfig::*member) {
  return {
      key, "", 1,
      [member](const ModelConfig &config) {
        return std::optional(config.*member);
      },
      [member](ModelConfig &config, int64_t value) { config.*member = value; }};
}

/// Heads are a dimension of both kinds of attention.
static Reduction heads() {
  return {"heads", "attention", 1,
          [](const ModelConfig &config) {
            std::optional<int64_t> value;
            forEach<Gqa>(config, [&](const Gqa &a) { value = a.heads; });
            forEach<Mla>(config, [&](const Mla &a) { value = a.heads; });
            return value;
          },
          [](ModelConfig &config, int64_t value) {
            forEach<Gqa>(config, [&](Gqa &a) { a.heads = value; });
            forEach<Mla>(config, [&](Mla &a) { a.heads = value; });
          }};
}

/// All keys, in the order in which they are applied and recorded.
static std::vector<Reduction> allReductions() {
  constexpr std::string_view kGqa = "grouped-query attention";
  constexpr std::string_view kMla = "latent attention";
  constexpr std::string_view kExperts = "layers with experts";
  return {
      firstDense(),
      layerCount("layers", "", 1, &ModelConfig::layers),
      layerCount("mtp", "multi-token prediction layers", 0,
                 &ModelConfig::mtpLayers),
      modelDimension("hidden", &ModelConfig::hidden),
      modelDimension("vocabulary", &ModelConfig::vocabulary),
      heads(),
      dimension<Gqa>("kv_heads", kGqa,
                     [](auto &a) -> auto & { return a.kvHeads; }),
      dimension<Gqa>("head_dim", kGqa,
                     [](auto &a) -> auto & { return a.headDim; }),
      dimension<Gqa>("window", "sliding windows",
                     [](auto &a) -> auto & { return a.window; }),
      dimension<Mla>("q_lora_rank", "low-rank queries",
                     [](auto &a) -> auto & { return a.qLoraRank; }),
      dimension<Mla>("kv_lora_rank", kMla,
                     [](auto &a) -> auto & { return a.kvLoraRank; }),
      dimension<Mla>("nope_dim", kMla,
                     [](auto &a) -> auto & { return a.nopeDim; }),
      dimension<Mla>("rope_dim", kMla,
                     [](auto &a) -> auto & { return a.ropeDim; }),
      dimension<Mla>("v_dim", kMla, [](auto &a) -> auto & { return a.vDim; }),
      dimension<Dense>("intermediate",
                       "dense layers (moe_intermediate is the width of an "
                       "expert)",
                       [](auto &f) -> auto & { return f.intermediate; }),
      dimension<Experts>("experts", kExperts,
                         [](auto &f) -> auto & { return f.count; }),
      dimension<Experts>("moe_intermediate", kExperts,
                         [](auto &f) -> auto & { return f.intermediate; }),
      dimension<Experts>(
          "shared_intermediate", "shared experts",
          [](auto &f) -> auto & { return f.sharedIntermediate; }),
      dimension<Experts>("top_k", kExperts,
                         [](auto &f) -> auto & { return f.routing.topK; }),
      dimension<Experts>("groups", kExperts,
                         [](auto &f) -> auto & { return f.routing.groups; }),
      dimension<Experts>("top_groups", kExperts,
                         [](auto &f) -> auto & { return f.routing.topGroups; }),
  };
}

/// "key=value,..." as a map; `keys` is the list for messages.
static Result<std::map<std::string, int64_t, std::less<>>>
parseReductions(std::string_view text, const std::vector<Reduction> &known,
                const std::string &keys) {
  std::map<std::string, int64_t, std::less<>> values;
  for (std::string_view entry : itemsOf(text)) {
    size_t equals = entry.find('=');
    std::string key(entry.substr(0, equals));
    bool isKnown = false;
    for (const Reduction &reduction : known)
      isKnown |= reduction.key == key;
    if (!isKnown)
      return Error{"reduction \"" + std::string(entry) +
                   "\": unknown key; expected key=value with one of " + keys};
    std::string_view digits =
        equals == entry.npos ? std::string_view() : entry.substr(equals + 1);
    int64_t value = 0;
    auto [end, failure] =
        std::from_chars(digits.data(), digits.data() + digits.size(), value);
    if (failure != std::errc() || end != digits.data() + digits.size())
      return Error{"reduction " + key + ": value is \"" + std::string(digits) +
                   "\"; expected an integer, as in " + key + "=4"};
    if (!values.emplace(key, value).second)
      return Error{"reduction " + key +
                   ": is given more than once; expected "
                   "once"};
  }
  return values;
}

/// Head sizes decide rotated columns and the scale of logits.
static Status adaptHeads(ModelConfig &config, const ModelConfig &original) {
  for (auto member : {&ModelConfig::layers, &ModelConfig::mtpLayers})
    for (size_t i = 0; i < (config.*member).size(); ++i) {
      Attention &attention = (config.*member)[i].attention;
      const Attention &old = (original.*member)[i].attention;
      if (auto *gqa = std::get_if<Gqa>(&attention)) {
        const auto &oldGqa = std::get<Gqa>(old);
        int64_t rotated = oldGqa.rotary.dim * gqa->headDim;
        if (rotated % oldGqa.headDim)
          return Error{"reduction head_dim: is " +
                       std::to_string(gqa->headDim) +
                       "; expected a value that keeps the part of columns "
                       "that rotates, " +
                       std::to_string(oldGqa.rotary.dim) + " of " +
                       std::to_string(oldGqa.headDim) + ", a whole number"};
        gqa->rotary.dim = rotated / oldGqa.headDim;
        gqa->softmaxScale = 1.0 / std::sqrt(static_cast<double>(gqa->headDim));
      } else {
        auto &mla = std::get<Mla>(attention);
        const auto &oldMla = std::get<Mla>(old);
        mla.rotary.dim = mla.ropeDim;
        mla.softmaxScale *=
            std::sqrt(static_cast<double>(oldMla.nopeDim + oldMla.ropeDim) /
                      static_cast<double>(mla.nopeDim + mla.ropeDim));
      }
    }
  return Status();
}

Result<ModelConfig> reduce(const ModelConfig &config,
                           std::string_view reductions) {
  if (reductions.empty())
    return config;
  const std::vector<Reduction> known = allReductions();
  std::string keys;
  for (const Reduction &reduction : known)
    keys += (keys.empty() ? "" : ", ") + std::string(reduction.key);
  auto values = parseReductions(reductions, known, keys);
  if (!values)
    return values.error();

  ModelConfig reduced = config;
  for (const Reduction &reduction : known) {
    auto given = values->find(reduction.key);
    if (given == values->end())
      continue;
    const std::string name = "reduction " + std::string(reduction.key);
    std::optional<int64_t> current = reduction.read(reduced);
    if (!current)
      return Error{name + ": the model has no " + std::string(reduction.what) +
                   "; expected one of " + keys};
    int64_t value = given->second;
    if (value < reduction.minimum || value > *current)
      return Error{name + ": is " + std::to_string(value) +
                   "; expected an integer from " +
                   std::to_string(reduction.minimum) + " to " +
                   std::to_string(*current) + ", the model's own"};
    reduction.write(reduced, value);
    reduced.reductions.push_back(std::string(reduction.key) + "=" +
                                 std::to_string(value));
  }
  bool hasExperts = false;
  for (const Layer &layer : reduced.layers)
    hasExperts |= std::holds_alternative<Experts>(layer.ffn);
  if (!hasExperts)
    return Error{"reduction layers: is " +
                 std::to_string(reduced.layers.size()) +
                 "; expected more, because the first layers are dense and no "
                 "layer with experts is left (or add first_dense=0)"};
  MOE_RETURN_IF_ERROR(adaptHeads(reduced, config));
  constexpr DimensionNames kNames{
      "reduction heads",      "reduction kv_heads", "reduction head_dim",
      "reduction experts",    "reduction top_k",    "reduction groups",
      "reduction top_groups",
  };
  DimensionNames names = kNames;
  if (std::holds_alternative<Mla>(reduced.layers.front().attention))
    names.rotary = "reduction rope_dim";
  MOE_RETURN_IF_ERROR(checkDimensions(reduced, names));
  return reduced;
}

} // namespace moe::model
