//===- PolicyText.cpp - what users write about saved values ---------------===//

#include "compiler/Optimize/PolicyText.h"

#include "support/Words.h"

#include <charconv>
#include <optional>
#include <utility>

namespace moe::policy {
namespace {

// Names of ops are given by passes/Layers/LayerBuilder.cpp and
// passes/Layers/ExpandLayers.cpp.
constexpr std::string_view kNorm[] = {
    "input_norm", "post_norm", "embedding_norm", "hidden_norm", "final_norm"};
constexpr std::string_view kAttnProj[] = {"attention.o_proj",
                                          "attention_residual"};
constexpr std::string_view kMlaUpProj[] = {
    "attention.q_down_norm",  "attention.q_up", "attention.q_proj",
    "attention.q_rope",       "attention.k_up", "attention.v_up",
    "attention.kv_down_norm", "attention.key"};
constexpr std::string_view kCoreAttn[] = {"attention.core"};
constexpr std::string_view kMoeAct[] = {"moe.experts.act"};
constexpr std::string_view kExpertFc1[] = {"moe.experts.gate_up"};
constexpr std::string_view kSharedExperts[] = {"moe.shared.*"};
constexpr std::string_view kRoutedExperts[] = {"moe.dispatch", "moe.experts.*",
                                               "moe.combine"};
constexpr std::string_view kMoe[] = {"moe.*"};
constexpr std::string_view kMlp[] = {"mlp.*"};
// All but the layer's result, which is the input of the next one.
constexpr std::string_view kFull[] = {
    "input_norm",     "attention.*",    "attention_residual",
    "post_norm",      "mlp.*",          "moe.*",
    "lookup",         "embedding_norm", "hidden_norm",
    "embedding_proj", "hidden_proj",    "projection"};

constexpr Target kTargets[] = {
    {"norm", "the norms before attention, feed-forward network and head",
     kNorm},
    {"attn_proj", "the attention's output projection and its residual sum",
     kAttnProj},
    {"mla_up_proj",
     "queries, keys and values of latent attention, from their low-rank "
     "projections on",
     kMlaUpProj, "attention.key"},
    {"core_attn", "the attention itself", kCoreAttn},
    {"moe_act", "the activation of routed experts", kMoeAct},
    {"expert_fc1", "the first projection of routed experts", kExpertFc1},
    {"shared_experts", "the shared experts", kSharedExperts},
    {"routed_experts", "the routed experts, from dispatch to combine",
     kRoutedExperts},
    {"moe", "router, routed and shared experts", kMoe},
    {"mlp", "the dense feed-forward network", kMlp},
    {"full", "a whole layer but its input", kFull}};

Error wrong(std::string_view item, const std::string &what) {
  return {"'" + std::string(item) + "': " + what};
}

constexpr std::string_view kScopes =
    "a scope is layers.A-B, mtp.A-B, stageA-B or rankA-B, or one number "
    "instead of A-B";

constexpr std::string_view kLead = "lead";

constexpr std::pair<std::string_view, Scope::Kind> kScopeNames[] = {
    {"layers.", Scope::Kind::layers},
    {"mtp.", Scope::Kind::mtp},
    {"stage", Scope::Kind::stages},
    {"rank", Scope::Kind::ranks}};

/// Digits only, below a billion: no model has more of anything.
std::optional<int64_t> parseNumber(std::string_view text) {
  if (text.empty() || text.size() > 9)
    return std::nullopt;
  int64_t number = 0;
  auto [end, error] =
      std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || end != text.data() + text.size() || number < 0)
    return std::nullopt;
  return number;
}

Result<Scope> parseScope(std::string_view item, std::string_view text) {
  if (text.empty())
    return wrong(item,
                 "the scope behind '@' is empty; " + std::string(kScopes));
  for (auto [prefix, kind] : kScopeNames) {
    if (!text.starts_with(prefix))
      continue;
    std::string_view range = text.substr(prefix.size());
    size_t dash = range.find('-');
    std::optional<int64_t> first = parseNumber(range.substr(0, dash));
    std::optional<int64_t> last = dash == std::string_view::npos
                                      ? first
                                      : parseNumber(range.substr(dash + 1));
    if (!first || !last)
      return wrong(item, "'" + std::string(range) +
                             "' is no number or range of numbers; " +
                             std::string(kScopes));
    if (*last < *first)
      return wrong(item, "the range " + std::string(range) +
                             " ends before it begins");
    return Scope{kind, *first, *last};
  }
  return wrong(item, "unknown scope '" + std::string(text) + "'; " +
                         std::string(kScopes));
}

bool isNameCharacter(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
         (c >= '0' && c <= '9') || c == '_' || c == '.' || c == ':';
}

/// "lead2" as its number.
Result<int64_t> parseLead(std::string_view item, std::string_view text,
                          Leads leads) {
  if (leads == Leads::refused)
    return wrong(item, "a lead is for what is offloaded");
  std::optional<int64_t> lead = parseNumber(text.substr(kLead.size()));
  if (!lead)
    return wrong(item, "'" + std::string(text) +
                           "' is no lead; one is leadN, of N layers");
  if (*lead > kMostLead)
    return wrong(item, "a lead is of at most " + std::to_string(kMostLead) +
                           " layers");
  return *lead;
}

Result<Choice> parseChoice(std::string_view item, Leads leads) {
  size_t at = item.find('@');
  Choice choice;
  choice.name = item.substr(0, at);
  if (choice.name.empty())
    return wrong(item, item.empty() ? "an item of the list is empty"
                                    : "there is no name before '@'");
  for (char c : choice.name)
    if (!isNameCharacter(c))
      return wrong(item, "'" + std::string(1, c) +
                             "' cannot be part of a name; names have letters, "
                             "digits, '_', '.' and ':'");
  bool hasScope = false;
  while (at != std::string_view::npos) {
    const size_t next = item.find('@', at + 1);
    const std::string_view text = item.substr(at + 1, next - at - 1);
    at = next;
    if (text.starts_with(kLead)) {
      Result<int64_t> lead = parseLead(item, text, leads);
      if (!lead)
        return lead.error();
      if (choice.lead)
        return wrong(item, "it has two leads");
      choice.lead = *lead;
      continue;
    }
    Result<Scope> scope = parseScope(item, text);
    if (!scope)
      return scope.error();
    if (std::exchange(hasScope, true))
      return wrong(item, "it has two scopes");
    choice.scope = *scope;
  }
  return choice;
}

} // namespace

std::span<const Target> targets() { return kTargets; }

const Target *findTarget(std::string_view name) {
  for (const Target &target : kTargets)
    if (target.name == name)
      return &target;
  return nullptr;
}

bool covers(const Target &target, std::string_view part) {
  for (std::string_view pattern : target.parts)
    if (pattern.ends_with('*')
            ? part.starts_with(pattern.substr(0, pattern.size() - 1))
            : part == pattern)
      return true;
  return false;
}

std::string print(const Choice &choice) {
  std::string text = choice.name;
  for (auto [prefix, kind] : kScopeNames) {
    if (kind != choice.scope.kind)
      continue;
    text += "@" + std::string(prefix) + std::to_string(choice.scope.first);
    if (choice.scope.last != choice.scope.first)
      text += "-" + std::to_string(choice.scope.last);
  }
  if (choice.lead)
    text += "@" + std::string(kLead) + std::to_string(*choice.lead);
  return text;
}

Result<std::vector<Choice>> parseChoices(std::string_view text, Leads leads) {
  if (text.empty())
    return Error{"the list of targets is empty"};
  std::vector<Choice> choices;
  for (std::string_view item : itemsOf(text)) {
    Result<Choice> choice = parseChoice(item, leads);
    if (!choice)
      return choice.error();
    choices.push_back(std::move(*choice));
  }
  return choices;
}

std::string unknownName(std::string_view name) {
  std::string text = "'" + std::string(name) +
                     "' is neither a target nor a value that is kept for the "
                     "backward pass; targets:";
  for (const Target &target : kTargets)
    text += (&target == kTargets ? " " : ", ") + std::string(target.name);
  return text;
}

} // namespace moe::policy
