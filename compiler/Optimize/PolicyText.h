//===- PolicyText.h - what users write about saved values -------*- C++ -*-===//
//
// "norm,moe_act@layers.3-5,expert_fc1@rank0-3@lead0,layers.3.mlp.act@stage2":
// which of the values that training keeps from forward to backward are meant,
// by the names of targets or of single values. What becomes of them (recompute,
// offload) is another matter. docs/recompute.md has the grammar and the table.
//
//===----------------------------------------------------------------------===//
#pragma once

#include "support/Result.h"

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace moe::policy {

/// A part of the model that can be named as a whole.
struct Target {
  std::string_view name;
  std::string_view summary; ///< whose results it covers, for messages
  /// Names of ops inside a block, as in "layers.3.NAME"; a '*' at the end
  /// stands for any rest.
  std::span<const std::string_view> parts;
  /// Present only in layers that have an op of this name; empty: in all.
  std::string_view needs = {};
};

/// All targets, inner ones before those that hold them.
std::span<const Target> targets();

/// The target called `name`, or null.
const Target *findTarget(std::string_view name);

/// Whether `part`, the name of an op inside its block, belongs to `target`.
bool covers(const Target &target, std::string_view part);

/// Where a choice applies.
struct Scope {
  enum class Kind : uint8_t { everywhere, layers, mtp, stages, ranks };
  Kind kind = Kind::everywhere;
  int64_t first = 0, last = 0; ///< both included
  bool operator==(const Scope &) const = default;
};

/// One item of the text.
struct Choice {
  /// Of a target; or of a value as plans spell it, whole
  /// ("layers.3.moe.dispatch:rows") or inside its block ("moe.dispatch:rows").
  std::string name;
  Scope scope = {};
  /// Layers ahead of its use at which a value comes back from the host; none:
  /// as many as for all.
  std::optional<int64_t> lead = {};
  bool operator==(const Choice &) const = default;
};

/// The choice as it is written.
std::string print(const Choice &choice);

/// The most layers ahead that are taken as a lead.
inline constexpr int64_t kMostLead = 1000;

/// Whether choices may have a lead.
enum class Leads : uint8_t { refused, taken };

/// Reads a comma list. Errors quote the item and say what is wrong with it.
/// Whether a name is known is decided where values are: see `unknownName`.
Result<std::vector<Choice>> parseChoices(std::string_view text,
                                         Leads leads = Leads::refused);

/// What to tell about a name that is neither a target nor a saved value.
std::string unknownName(std::string_view name);

} // namespace moe::policy
