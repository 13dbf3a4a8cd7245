#include "compiler/Export/Treatments.h"

#include "compiler/Export/Summary.h"
#include "support/Words.h"

#include <map>

namespace moe::report {

std::string_view blockOf(std::string_view name) {
  for (std::string_view prefix : {"layers.", "mtp."})
    if (name.starts_with(prefix))
      return name.substr(0, name.find('.', prefix.size()));
  return {};
}

std::string_view partOf(std::string_view name) {
  const size_t block = blockOf(name).size();
  return block == 0 || block == name.size() ? name : name.substr(block + 1);
}

std::string placesOf(const std::vector<std::string> &blocks) {
  std::string text = formatBlocks(blocks);
  constexpr std::string_view prefix = "layers.";
  if (!text.starts_with(prefix))
    return text;
  for (size_t at; (at = text.rfind(prefix)) != 0;)
    text.erase(at, prefix.size());
  return text.replace(0, prefix.size(),
                      plural(static_cast<int64_t>(blocks.size()), "layer") +
                          " ");
}

std::string joinOutputs(const std::vector<std::string_view> &parts) {
  std::string text;
  std::string_view last;
  for (std::string_view part : parts) {
    const std::string_view op = part.substr(0, part.find(':'));
    text += text.empty() ? "" : ", ";
    text += op == last ? part.substr(op.size()) : part;
    last = op;
  }
  return text;
}

std::vector<Treated> treatedOf(const plan::Plan &plan, size_t stage) {
  std::map<plan::ValueIndex, plan::Action> decided;
  for (const plan::Decision &decision : plan.decisions)
    if (decision.stage == static_cast<int64_t>(stage))
      decided.emplace(decision.value, decision.action);
  std::vector<Treated> treated;
  const std::vector<plan::Value> &values = plan.stages[stage].values;
  for (size_t v = 0; v < values.size(); ++v) {
    const auto value = static_cast<plan::ValueIndex>(v);
    if (auto known = decided.find(value); known != decided.end())
      treated.push_back({values[v].name, plan::name(known->second)});
    else if (plan::isKept(plan.stages[stage], value) && !values[v].isOnHost())
      treated.push_back({values[v].name, "keep"});
  }
  return treated;
}

} // namespace moe::report
