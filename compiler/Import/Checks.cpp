//===- Checks.cpp - limits and rules of model dimensions ------------------===//

#include "compiler/Import/Checks.h"

namespace moe::model {

static std::string is(std::string_view name, int64_t value) {
  return std::string(name) + ": is " + std::to_string(value) + "; expected ";
}

static Status checkRotary(const Rotary &rotary, const DimensionNames &names) {
  if (rotary.dim % 2)
    return Error{std::string(names.rotary) + ": makes " +
                 std::to_string(rotary.dim) +
                 " rotated columns a head; expected an even number of columns"};
  return Status();
}

static Status checkAttention(const Attention &attention,
                             const DimensionNames &names) {
  if (const auto *mla = std::get_if<Mla>(&attention))
    return checkRotary(mla->rotary, names);
  const auto &gqa = std::get<Gqa>(attention);
  if (gqa.heads % gqa.kvHeads)
    return Error{is(names.kvHeads, gqa.kvHeads) + "a divisor of " +
                 std::string(names.heads) + ", which is " +
                 std::to_string(gqa.heads)};
  return checkRotary(gqa.rotary, names);
}

static Status checkExperts(const Experts &experts,
                           const DimensionNames &names) {
  const Routing &routing = experts.routing;
  std::string count = std::string(names.experts) + ", which is " +
                      std::to_string(experts.count);
  if (routing.topK > experts.count)
    return Error{is(names.topK, routing.topK) + "at most " + count};
  if (experts.count % routing.groups)
    return Error{is(names.groups, routing.groups) + "a divisor of " + count};
  if (routing.topGroups > routing.groups)
    return Error{is(names.topGroups, routing.topGroups) + "at most " +
                 std::string(names.groups) + ", which is " +
                 std::to_string(routing.groups)};
  int64_t groupSize = experts.count / routing.groups;
  if (routing.groupScore == GroupScore::top2Sum && groupSize < 2)
    return Error{is(names.groups, routing.groups) + "at most half of " + count +
                 ": a group is scored by its two best experts"};
  if (routing.topK > routing.topGroups * groupSize)
    return Error{is(names.topK, routing.topK) + "at most " +
                 std::to_string(routing.topGroups * groupSize) +
                 ", the experts in the " + std::to_string(routing.topGroups) +
                 " groups that " + std::string(names.topGroups) + " chooses"};
  return Status();
}

Status checkDimensions(const ModelConfig &config, const DimensionNames &names) {
  for (const auto *layers : {&config.layers, &config.mtpLayers})
    for (const Layer &layer : *layers) {
      MOE_RETURN_IF_ERROR(checkAttention(layer.attention, names));
      if (const auto *experts = std::get_if<Experts>(&layer.ffn))
        MOE_RETURN_IF_ERROR(checkExperts(*experts, names));
    }
  return Status();
}

} // namespace moe::model
