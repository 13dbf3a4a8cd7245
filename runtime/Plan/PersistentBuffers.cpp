//===- PersistentBuffers.cpp - parameters, gradients, optimizer state -----===//

#include "runtime/Plan/Checks.h"

#include <algorithm>
#include <tuple>

namespace moe::plan {

int64_t alignedBytes(const std::vector<int64_t> &shape, DType dtype) {
  int64_t bytes = byteSize(dtype);
  for (int64_t dimension : shape)
    bytes *= dimension;
  return alignUp(bytes);
}

void appendPersistentBuffers(const Plan &plan, int64_t stage,
                             std::vector<PersistentBuffer> &buffers) {
  const std::vector<Parameter> &parameters = plan.stages[stage].parameters;
  for (size_t i = 0; i < parameters.size(); ++i) {
    const Parameter &parameter = parameters[i];
    DType wide = parameter.dtype == DType::f64 ? DType::f64 : DType::f32;
    auto append = [&](int64_t offset, DType dtype, MemoryClass memoryClass,
                      std::string_view field) {
      if (offset != -1)
        buffers.push_back({offset,
                           offset + alignedBytes(parameter.shape, dtype),
                           memoryClass, stage, static_cast<int64_t>(i), field});
    };
    append(parameter.weightOffset, parameter.dtype, MemoryClass::parameters,
           "weight_offset");
    append(parameter.gradientOffset, wide, MemoryClass::gradients,
           "gradient_offset");
    append(parameter.masterOffset, DType::f32, MemoryClass::optimizer,
           "master_offset");
    append(parameter.firstMomentOffset, wide, MemoryClass::optimizer,
           "first_moment_offset");
    append(parameter.secondMomentOffset, wide, MemoryClass::optimizer,
           "second_moment_offset");
  }
}

Status checkPersistentBuffers(const Plan &plan, int64_t rank) {
  std::vector<PersistentBuffer> buffers;
  for (int64_t stage : plan.ranks[rank].stages)
    appendPersistentBuffers(plan, stage, buffers);
  std::sort(buffers.begin(), buffers.end(),
            [](const PersistentBuffer &a, const PersistentBuffer &b) {
              return std::tie(a.begin, a.stage, a.parameter, a.field) <
                     std::tie(b.begin, b.stage, b.parameter, b.field);
            });
  for (size_t i = 1; i < buffers.size(); ++i)
    if (buffers[i].begin < buffers[i - 1].end)
      return errorAt(buffers[i].path(),
                     "the buffer overlaps the one of " + buffers[i - 1].path());
  // `path` tells where: nobody asks as long as all is well.
  auto checkFree = [&](int64_t begin, int64_t bytes, auto path) -> Status {
    if (bytes == 0) // a group without values
      return {};
    auto next = std::lower_bound(
        buffers.begin(), buffers.end(), begin,
        [](const PersistentBuffer &b, int64_t at) { return b.end <= at; });
    if (next != buffers.end() && next->begin < begin + bytes)
      return errorAt(path(), "its bytes overlap the buffer of " + next->path());
    return {};
  };
  for (int64_t s : plan.ranks[rank].stages) {
    const Stage &stage = plan.stages[s];
    std::string path = element("$.stages", s);
    for (size_t i = 0; i < stage.values.size(); ++i) {
      const Value &value = stage.values[i];
      if (value.placement == Placement::fixed && !value.isOnHost())
        MOE_RETURN_IF_ERROR(checkFree(value.offset, value.bytes, [&] {
          return element(path + ".values", i) + ".offset";
        }));
    }
    std::vector<GroupBytes> groups = groupBytes(stage);
    for (size_t i = 0; i < stage.slots.size(); ++i)
      for (size_t g = 0; g < groups.size(); ++g)
        if (!groups[g].isOnHost)
          MOE_RETURN_IF_ERROR(
              checkFree(stage.slots[i][g], groups[g].bytes, [&] {
                return element(element(path + ".slots", i), g);
              }));
    for (size_t p = 0; p < stage.programs.size(); ++p)
      for (size_t o = 0; o < stage.programs[p].ops.size(); ++o) {
        const Op &op = stage.programs[p].ops[o];
        if (op.scratchBytes > 0)
          MOE_RETURN_IF_ERROR(checkFree(op.scratchOffset, op.scratchBytes, [&] {
            return element(element(path + ".programs", p) + ".ops", o) +
                   ".scratch_offset";
          }));
      }
  }
  return {};
}

} // namespace moe::plan
