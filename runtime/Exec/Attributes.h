//===- Attributes.h - decoded attributes of an op ---------------*- C++ -*-===//
#pragma once

#include "kernels/Kernels.h"
#include "runtime/Plan/Plan.h"

#include <string_view>
#include <variant>
#include <vector>

namespace moe::exec {

/// What kernels read of an op's attributes; each kind fills its part.
struct Attributes {
  kernels::Rotary rotary;
  kernels::Attention attention;
  kernels::Routing routing;
  kernels::Swiglu swiglu;
  kernels::Exchange exchange;
  int64_t heads = 1;
  int64_t groups = 1;
  double epsilon = 0;
  double scale = 0;
  double weight = 1;
};

/// One attribute that a kind requires.
struct AttributeRule {
  using Integer = int64_t &(*)(Attributes &);
  using Real = double &(*)(Attributes &);
  using Flag = bool &(*)(Attributes &);
  /// Returns whether the word is one of the known ones.
  using Word = bool (*)(Attributes &, std::string_view);

  std::string_view key;
  std::variant<Integer, Real, Flag, Word> target;
  /// Least value of an Integer.
  int64_t minimum = 1;
  /// Name under which shapes refer to an Integer; empty: they do not.
  std::string_view symbol = {};
  /// Whether the key may be absent, which leaves the default.
  bool optional = false;
};
using AttributeRules = std::vector<AttributeRule>;

/// Fills `attributes` from the op by the rules. Every rule that is not optional
/// must find its key, and every key a rule. Errors name key and expectation,
/// not the op.
Status decode(const AttributeRules &rules, const plan::Op &op,
              Attributes &attributes);

} // namespace moe::exec
