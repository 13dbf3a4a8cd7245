#include "runtime/Exec/Attributes.h"

#include <algorithm>
#include <cmath>

namespace moe::exec {
namespace {

/// Stores one plan attribute where its rule says.
struct Store {
  const AttributeRule &rule;
  const plan::Attribute &attribute;
  Attributes &attributes;

  Error expected(const std::string &what) const {
    return {"attribute '" + std::string(rule.key) + "' must be " + what};
  }

  Status operator()(AttributeRule::Integer target) const {
    const auto *value = std::get_if<int64_t>(&attribute);
    if (!value || *value < rule.minimum)
      return expected("an integer of at least " + std::to_string(rule.minimum));
    target(attributes) = *value;
    return {};
  }

  Status operator()(AttributeRule::Real target) const {
    double value = NAN;
    if (const auto *real = std::get_if<double>(&attribute))
      value = *real;
    else if (const auto *integer = std::get_if<int64_t>(&attribute))
      value = static_cast<double>(*integer);
    if (!std::isfinite(value))
      return expected("a finite number");
    target(attributes) = value;
    return {};
  }

  Status operator()(AttributeRule::Flag target) const {
    const auto *value = std::get_if<bool>(&attribute);
    if (!value)
      return expected("true or false");
    target(attributes) = *value;
    return {};
  }

  Status operator()(AttributeRule::Word target) const {
    const auto *value = std::get_if<std::string>(&attribute);
    if (!value || !target(attributes, *value))
      return expected("a word that the runtime knows" +
                      (value ? ", is '" + *value + "'" : std::string()));
    return {};
  }
};

} // namespace

Status decode(const AttributeRules &rules, const plan::Op &op,
              Attributes &attributes) {
  for (const AttributeRule &rule : rules) {
    auto found = op.attributes.find(std::string(rule.key));
    if (found == op.attributes.end() && rule.optional)
      continue;
    if (found == op.attributes.end())
      return Error{"attribute '" + std::string(rule.key) + "' is missing"};
    MOE_RETURN_IF_ERROR(
        std::visit(Store{rule, found->second, attributes}, rule.target));
  }
  for (const auto &[key, value] : op.attributes)
    if (std::none_of(rules.begin(), rules.end(),
                     [&](const AttributeRule &r) { return r.key == key; }))
      return Error{"attribute '" + key + "' is unknown"};
  return {};
}

} // namespace moe::exec
