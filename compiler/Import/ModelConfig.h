//===- ModelConfig.h - a model as its configuration states it ---*- C++ -*-===//
//
// What the planner needs to know of a model, in plain structures: no MLIR, no
// JSON. Every field mirrors an attribute of the layer ops of the moe dialect.
// docs/import.md lists where each value comes from in a Hugging Face
// configuration.
//
//===----------------------------------------------------------------------===//
#pragma once

#include "support/Result.h"

#include <cstdint>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

namespace moe::model {

/// Rotary position embedding of the columns [begin, begin + dim) of a head.
/// yarnFactor > 1 selects YaRN (arXiv 2309.00071); the other yarn fields are
/// meaningful only then.
struct Rotary {
  int64_t begin = 0;
  int64_t dim = 0;          ///< even
  bool interleaved = false; ///< pairs (2i, 2i+1) instead of (i, i + dim/2)
  double theta = 10000;
  double yarnFactor = 1;
  int64_t yarnOriginalLength = 0; ///< tokens
  double yarnBetaFast = 32;
  double yarnBetaSlow = 1;
  bool yarnTruncate = true;  ///< round the correction range to integers
  double attentionScale = 1; ///< multiplies cos and sin
  bool operator==(const Rotary &) const = default;
};

/// What RMSNorm is applied to in queries and keys before rotation.
enum class QkNorm : uint8_t {
  none,
  head, ///< each head on its own, one weight of head_dim for all heads
  full, ///< the whole row, weights of heads*head_dim and kv_heads*head_dim
};

/// Grouped-query attention.
struct Gqa {
  int64_t heads = 0;
  int64_t kvHeads = 0; ///< divides heads
  int64_t headDim = 0;
  bool qkvBias = false;
  bool outBias = false;
  QkNorm qkNorm = QkNorm::none;
  bool sinks = false; ///< one logit a head that takes probability, has no value
  int64_t window = 0; ///< 0: full causal; w: the w latest positions
  double softmaxScale = 0;
  Rotary rotary; ///< columns of a head
  bool operator==(const Gqa &) const = default;
};

/// Multi-head latent attention (arXiv 2405.04434). A query head has nopeDim
/// columns followed by ropeDim rotated ones; all key heads share the latter.
struct Mla {
  int64_t heads = 0;
  int64_t qLoraRank = 0; ///< 0: queries are projected directly
  int64_t kvLoraRank = 0;
  int64_t nopeDim = 0;
  int64_t ropeDim = 0;
  int64_t vDim = 0;
  double softmaxScale = 0;
  Rotary rotary; ///< counted inside the ropeDim columns: begin is 0
  bool operator==(const Mla &) const = default;
};

using Attention = std::variant<Gqa, Mla>;

/// A gated feed-forward network of one expert that all tokens use.
struct Dense {
  int64_t intermediate = 0;
  bool operator==(const Dense &) const = default;
};

enum class Scoring : uint8_t { softmax, sigmoid };
enum class GroupScore : uint8_t { maximum, top2Sum };

/// Choice of experts; semantics as kernels::Routing.
struct Routing {
  int64_t topK = 0;
  Scoring scoring = Scoring::softmax;
  bool normalize = false; ///< divide by the sum of the chosen scores
  int64_t groups = 1;     ///< divides the number of experts
  int64_t topGroups = 1;
  GroupScore groupScore = GroupScore::maximum;
  double scale = 1; ///< multiplies the probabilities
  bool operator==(const Routing &) const = default;
};

/// limit > 0: gate = min(gate, limit), up = clamp(up, -limit, limit).
/// result = gate * sigmoid(alpha * gate) * (up + upOffset)
struct Swiglu {
  double limit = 0;
  double alpha = 1;
  double upOffset = 0;
  bool operator==(const Swiglu &) const = default;
};

/// A mixture of experts.
struct Experts {
  int64_t count = 0;
  int64_t intermediate = 0;       ///< of one expert
  int64_t sharedIntermediate = 0; ///< 0: no shared expert; else their sum
  Routing routing;
  bool correctionBias = false; ///< added to scores for the choice only; buffer
  bool routerBias = false;
  bool expertBias = false; ///< on both projections of every expert
  Swiglu activation;
  bool operator==(const Experts &) const = default;
};

using Ffn = std::variant<Dense, Experts>;

/// One pre-norm decoder layer.
struct Layer {
  Attention attention;
  Ffn ffn;
  bool operator==(const Layer &) const = default;
};

struct ModelConfig {
  std::string name;         ///< the user's name for it, e.g. "qwen3-30b-a3b"
  std::string architecture; ///< model_type, e.g. "qwen3_moe"
  int64_t hidden = 0;
  int64_t vocabulary = 0;
  double normEpsilon = 0;
  double initializerRange = 0; ///< standard deviation of new weights
  std::vector<Layer> layers;
  /// Multi-token prediction modules (arXiv 2412.19437 §2.2), one decoder layer
  /// each; empty where the model has none.
  std::vector<Layer> mtpLayers;
  /// Explicit reductions in canonical order, e.g. "hidden=256"; empty: as
  /// published.
  std::vector<std::string> reductions;
  /// Remarks for the user, e.g. ignored fields of the configuration.
  std::vector<std::string> notes;
  bool operator==(const ModelConfig &) const = default;
};

/// Reads a Hugging Face `config.json`. `name` becomes ModelConfig::name.
/// Errors name the field, its value and what was expected.
Result<ModelConfig> importHfConfig(std::string_view json, std::string name);

/// The name of a model in the file at `path`: the file name without its
/// extension, or the name of its folder where the file is called config.json.
std::string modelName(const std::string &path);

/// Reads the file at `path`; the name is modelName(path).
Result<ModelConfig> readHfConfig(const std::string &path);

/// Makes a smaller model of the same architecture: `reductions` is
/// "key=value,key=value,..."; docs/import.md lists the keys. A value lies
/// between 1 and the model's own (mtp and first_dense: from 0). Layers are kept
/// from the start. Fails on an unknown or repeated key, a key that the model
/// has no use for, and on values that do not fit each other.
Result<ModelConfig> reduce(const ModelConfig &config,
                           std::string_view reductions);

/// Numbers of parameters. The router's correction bias counts as one.
struct ParameterCounts {
  int64_t total = 0;  ///< all, without the MTP modules
  int64_t active = 0; ///< total minus the experts that a token does not choose
  int64_t mtpTotal = 0;  ///< of the MTP modules; table and head are shared
  int64_t mtpActive = 0; ///< of these, used per token
  bool operator==(const ParameterCounts &) const = default;
};
ParameterCounts countParameters(const ModelConfig &config);

/// The configuration as canonical JSON (docs/import.md): equal configurations
/// print equal bytes.
std::string printConfig(const ModelConfig &config);

} // namespace moe::model
