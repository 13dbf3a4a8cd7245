//===- Treatments.h - what becomes of values --------------------*- C++ -*-===//
//
// Private to compiler/Export.
//
//===----------------------------------------------------------------------===//
#pragma once

#include "runtime/Plan/Plan.h"

#include <string>
#include <string_view>
#include <vector>

namespace moe::report {

/// "layers.3" of "layers.3.moe.experts.act", whole or without the value; empty
/// for what lies in no layer.
std::string_view blockOf(std::string_view name);

/// "moe.experts.act" of "layers.3.moe.experts.act"; what lies in no layer is
/// its own part.
std::string_view partOf(std::string_view name);

/// "layers 0-3, 7": how people read blocks of that kind.
std::string placesOf(const std::vector<std::string> &blocks);

/// Names of values, of which several of one op share its name: "input_norm,
/// :inverse". `parts` are in the order in which they are told.
std::string joinOutputs(const std::vector<std::string_view> &parts);

/// A value of a stage that the backward pass needs.
struct Treated {
  std::string_view name; ///< as the plan spells it
  /// "keep", "recompute" or "offload".
  std::string_view treatment;
};

/// Those of a stage, in the order of its values.
std::vector<Treated> treatedOf(const plan::Plan &plan, size_t stage);

} // namespace moe::report
