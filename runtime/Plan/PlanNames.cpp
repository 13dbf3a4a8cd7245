//===- PlanNames.cpp - spellings of the enums of a plan -------------------===//

#include "runtime/Plan/Plan.h"

namespace moe::plan {
namespace {

/// The spellings of an enum, in the order of its enumerators.
template <size_t N> using Names = std::array<std::string_view, N>;

constexpr Names<kMemoryClassCount> kMemoryClasses = {
    "parameters", "gradients", "optimizer", "saved",
    "transient",  "receive",   "send",      "expert_communication",
    "handles",    "workspace", "host"};
constexpr Names<2> kPlacements = {"fixed", "slot"};
constexpr Names<2> kReplications = {"dense", "expert"};
constexpr Names<kStreamCount> kStreams = {"compute", "expert_communication",
                                          "copy_out", "copy_in"};
constexpr Names<kPhaseCount> kPhases = {"forward", "backward", "backward_input",
                                        "weight_grad"};
constexpr Names<3> kActions = {"keep", "recompute", "offload"};
constexpr Names<9> kStepKinds = {
    "load",         "receive",          "run",   "overlap", "send", "wait_send",
    "collect_loss", "reduce_gradients", "update"};

template <typename Enum, size_t N>
std::string_view spell(const Names<N> &names, Enum value) {
  size_t index = static_cast<size_t>(value);
  return index < N ? names[index] : std::string_view();
}

template <typename Enum, size_t N>
std::optional<Enum> parseName(const Names<N> &names, std::string_view text) {
  for (size_t i = 0; i < N; ++i)
    if (names[i] == text)
      return static_cast<Enum>(i);
  return std::nullopt;
}

} // namespace

std::string_view name(MemoryClass memoryClass) {
  return spell(kMemoryClasses, memoryClass);
}
std::optional<MemoryClass> parseMemoryClass(std::string_view text) {
  return parseName<MemoryClass>(kMemoryClasses, text);
}

std::string_view name(Placement placement) {
  return spell(kPlacements, placement);
}
std::optional<Placement> parsePlacement(std::string_view text) {
  return parseName<Placement>(kPlacements, text);
}

std::string_view name(Replication replication) {
  return spell(kReplications, replication);
}
std::optional<Replication> parseReplication(std::string_view text) {
  return parseName<Replication>(kReplications, text);
}

std::string_view name(Stream stream) { return spell(kStreams, stream); }
std::optional<Stream> parseStream(std::string_view text) {
  return parseName<Stream>(kStreams, text);
}

std::string_view name(Phase phase) { return spell(kPhases, phase); }
std::optional<Phase> parsePhase(std::string_view text) {
  return parseName<Phase>(kPhases, text);
}

std::string_view name(Action action) { return spell(kActions, action); }
std::optional<Action> parseAction(std::string_view text) {
  return parseName<Action>(kActions, text);
}

std::string_view name(StepKind kind) { return spell(kStepKinds, kind); }
std::optional<StepKind> parseStepKind(std::string_view text) {
  return parseName<StepKind>(kStepKinds, text);
}

} // namespace moe::plan
