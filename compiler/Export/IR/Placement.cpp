//===- Placement.cpp - offsets of every buffer of a rank ------------------===//

#include "compiler/Export/IR/Placement.h"

#include "compiler/Optimize/Offsets.h"

#include <algorithm>
#include <cassert>

using namespace moe;

namespace {

/// Hands out bytes one after the other.
struct Cursor {
  int64_t offset = 0;
  int64_t take(int64_t bytes) {
    int64_t begin = offset;
    offset += plan::alignUp(bytes);
    return begin;
  }
};

} // namespace

static void placeParameters(plan::Stage &stage, Cursor &cursor) {
  for (plan::Parameter &parameter : stage.parameters) {
    int64_t elements = 1;
    for (int64_t size : parameter.shape)
      elements *= size;
    DType sums = parameter.dtype == DType::f64 ? DType::f64 : DType::f32;
    parameter.weightOffset = cursor.take(elements * byteSize(parameter.dtype));
    if (!parameter.trainable)
      continue;
    parameter.gradientOffset = cursor.take(elements * byteSize(sums));
    if (parameter.dtype == DType::bf16)
      parameter.masterOffset = cursor.take(elements * byteSize(DType::f32));
    parameter.firstMomentOffset = cursor.take(elements * byteSize(sums));
    parameter.secondMomentOffset = cursor.take(elements * byteSize(sums));
  }
}

static void placeSlots(plan::Stage &stage, int64_t count, Cursor &cursor) {
  Cursor inside;
  for (plan::Value &value : stage.values)
    if (value.placement == plan::Placement::slot)
      value.offset = inside.take(value.bytes);
  for (int64_t slot = 0; slot < count; ++slot)
    stage.slots.push_back(cursor.take(inside.offset));
}

/// Packs the fixed values and the scratch of one program from `base` upwards
/// and returns the end. Values that the program yields are placed elsewhere.
static int64_t placeProgram(plan::Stage &stage, plan::Program &program,
                            int64_t base) {
  optimize::PackingProblem problem;
  std::vector<int64_t *> offsets;
  auto add = [&](int64_t &offset, int64_t size, int64_t begin, int64_t end) {
    problem.buffers.push_back({size, begin, end, plan::kAlignment});
    offsets.push_back(&offset);
  };

  std::vector<int64_t> begin(stage.values.size(), -1);
  for (plan::ValueIndex value : program.inputs)
    begin[value] = 0;
  for (size_t i = 0; i < program.ops.size(); ++i) {
    plan::Op &op = program.ops[i];
    for (plan::ValueIndex value : op.outputs)
      if (value >= 0)
        begin[value] = i;
    if (op.scratchBytes)
      add(op.scratchOffset, op.scratchBytes, i, i + 1);
    for (plan::ValueIndex value : op.releases)
      if (stage.values[value].placement == plan::Placement::fixed)
        add(stage.values[value].offset, stage.values[value].bytes, begin[value],
            i + 1);
  }
  assert(problem.check().ok() && "lifetimes come from verified IR");
  optimize::PackingSolution solution = optimize::pack(problem);
  for (size_t i = 0; i < offsets.size(); ++i)
    *offsets[i] = base + solution.offsets[i];
  return base + plan::alignUp(solution.height);
}

/// All bytes of a rank if nothing shared any: above 2^53 sums of sizes may not
/// fit 64 bits.
static double bytesWithoutSharing(std::span<plan::Stage *const> stages,
                                  std::span<const int64_t> slotCounts) {
  double bytes = 0;
  for (size_t i = 0; i < stages.size(); ++i) {
    for (const plan::Parameter &parameter : stages[i]->parameters) {
      double elements = 1;
      for (int64_t size : parameter.shape)
        elements *= static_cast<double>(size);
      bytes += elements * 40; // weight, gradient, master, moments, all f64
    }
    for (const plan::Value &value : stages[i]->values)
      bytes += static_cast<double>(value.bytes) *
               (value.placement == plan::Placement::slot
                    ? static_cast<double>(slotCounts[i])
                    : 1.0);
    for (const plan::Program &program : stages[i]->programs)
      for (const plan::Op &op : program.ops)
        bytes += static_cast<double>(op.scratchBytes);
  }
  return bytes;
}

Result<int64_t> moe::placeRank(std::span<plan::Stage *const> stages,
                               std::span<const int64_t> slotCounts) {
  if (bytesWithoutSharing(stages, slotCounts) > 0x1p53)
    return Error{"pipeline rank " + std::to_string(stages.front()->rank) +
                 " needs more than 2^53 bytes; use smaller microbatches or "
                 "fewer of them in flight"};
  Cursor cursor;
  for (plan::Stage *stage : stages)
    placeParameters(*stage, cursor);
  for (size_t i = 0; i < stages.size(); ++i)
    placeSlots(*stages[i], slotCounts[i], cursor);
  for (plan::Stage *stage : stages)
    for (plan::Program &program : stage->programs)
      for (plan::ValueIndex index : program.outputs)
        if (plan::Value &value = stage->values[index];
            value.placement == plan::Placement::fixed)
          value.offset = cursor.take(value.bytes);
  int64_t end = cursor.offset;
  for (plan::Stage *stage : stages)
    for (plan::Program &program : stage->programs)
      end = std::max(end, placeProgram(*stage, program, cursor.offset));
  return end;
}
