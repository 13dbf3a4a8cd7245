#include "runtime/Exec/Parameters.h"

#include "runtime/Exec/Bfloat16.h"

#include <cmath>
#include <cstring>
#include <map>
#include <set>

namespace moe::exec {

using kernels::Tensor;

Parameters::Parameters(const Binding &binding, comm::Coordinates at,
                       Arena &arena, comm::Transport &transport,
                       ThreadPool &pool, const kernels::KernelTable &kernels)
    : binding(binding), at(at), arena(arena), transport(transport), pool(pool),
      kernels(kernels), dense(binding.topology().denseGroup(at)),
      expertReplicas(binding.topology().expertReplicas(at)),
      world(binding.topology().world()) {}

Result<Tensor> Parameters::allocate(const std::string &name, int64_t offset,
                                    DType dtype, int64_t elements,
                                    plan::MemoryClass memoryClass) {
  Tensor tensor;
  tensor.dtype = dtype;
  tensor.rank = 1;
  tensor.dims[0] = elements;
  if (offset < 0)
    return tensor;
  Result<std::byte *> data = arena.allocate(
      offset, plan::alignUp(elements * byteSize(dtype)), memoryClass, name);
  if (!data)
    return data.error();
  tensor.data = *data;
  return tensor;
}

int64_t Parameters::firstElement(const plan::Parameter &parameter) const {
  if (parameter.replication == plan::Replication::dense)
    return 0;
  int64_t elements = 1;
  for (int64_t dim : parameter.shape)
    elements *= dim;
  return at.expert * elements;
}

Status Parameters::create(uint64_t seed) {
  using plan::MemoryClass;
  const plan::Plan &plan = binding.plan();
  for (int64_t s : plan.ranks[static_cast<size_t>(at.pipeline)].stages) {
    const plan::Stage &stage = plan.stages[static_cast<size_t>(s)];
    for (size_t p = 0; p < stage.parameters.size(); ++p) {
      const plan::Parameter &parameter = stage.parameters[p];
      int64_t elements = binding.stage(s).weights[p].elements();
      DType wide = binding.stage(s).gradients[p].dtype;
      Entry entry;
      entry.parameter = &parameter;
      struct {
        Tensor &tensor;
        int64_t offset;
        DType dtype;
        MemoryClass memoryClass;
      } buffers[] = {
          {entry.weight, parameter.weightOffset, parameter.dtype,
           MemoryClass::parameters},
          {entry.gradient, parameter.gradientOffset, wide,
           MemoryClass::gradients},
          {entry.master, parameter.masterOffset, DType::f32,
           MemoryClass::optimizer},
          {entry.firstMoment, parameter.firstMomentOffset, wide,
           MemoryClass::optimizer},
          {entry.secondMoment, parameter.secondMomentOffset, wide,
           MemoryClass::optimizer},
      };
      for (auto &buffer : buffers) {
        Result<Tensor> tensor =
            allocate(parameter.name, buffer.offset, buffer.dtype, elements,
                     buffer.memoryClass);
        if (!tensor)
          return tensor.error();
        buffer.tensor = *tensor;
      }
      fill(entry, seed);
      list.push_back(entry);
    }
  }
  return {};
}

static void zero(const Tensor &tensor) {
  if (tensor.present())
    std::memset(
        tensor.data, 0,
        static_cast<size_t>(tensor.elements() * byteSize(tensor.dtype)));
}

void Parameters::fill(const Entry &entry, uint64_t seed) {
  size_t elements = static_cast<size_t>(entry.weight.elements());
  int64_t first = firstElement(*entry.parameter);
  zero(entry.firstMoment);
  zero(entry.secondMoment);
  switch (entry.weight.dtype) {
  case DType::f64:
    return initialize(pool, *entry.parameter, seed, first,
                      std::span(entry.weight.as<double>(), elements));
  case DType::f32:
    return initialize(pool, *entry.parameter, seed, first,
                      std::span(entry.weight.as<float>(), elements));
  case DType::bf16:
  case DType::i32: // refused by plan::check()
    break;
  }
  // The bf16 weight is the rounded master; without a master (not trainable) the
  // f32 values pass through a buffer on the side.
  std::vector<float> own(entry.master.present() ? 0 : elements);
  std::span<float> wide = entry.master.present()
                              ? std::span(entry.master.as<float>(), elements)
                              : std::span(own);
  initialize(pool, *entry.parameter, seed, first, wide);
  uint16_t *weight = entry.weight.as<uint16_t>();
  for (size_t i = 0; i < elements; ++i)
    weight[i] = toBfloat16(wide[i]);
}

void Parameters::zeroGradients() {
  for (const Entry &entry : list)
    zero(entry.gradient);
}

Status Parameters::reduceGradients() {
  for (const Entry &entry : list) {
    if (!entry.gradient.present())
      continue;
    bool isDense = entry.parameter->replication == plan::Replication::dense;
    MOE_RETURN_IF_ERROR(
        transport.allReduceSum(isDense ? dense : expertReplicas,
                               entry.gradient.data, entry.gradient.elements(),
                               entry.gradient.dtype, entry.parameter->name));
  }
  return reduceTied();
}

// What is tied is equal within the ranks of one pipeline rank by now, so each
// rank only needs the sum with its peers of the same ep and dp. All ranks go
// through the originals in the order of the plan, hence never wait for each
// other in a circle.
Status Parameters::reduceTied() {
  const plan::Plan &plan = binding.plan();
  std::map<std::string_view, std::set<int64_t>> holders; // by original
  for (const plan::Stage &stage : plan.stages)
    for (const plan::Parameter &parameter : stage.parameters)
      if (!parameter.tiedTo.empty())
        holders[parameter.tiedTo].insert(
            binding.topology().pipelinePeer(at, stage.rank));
  for (const plan::Stage &stage : plan.stages)
    for (const plan::Parameter &parameter : stage.parameters) {
      auto found = holders.find(parameter.name);
      if (found == holders.end())
        continue;
      std::set<int64_t> ranks = found->second;
      ranks.insert(binding.topology().pipelinePeer(at, stage.rank));
      std::vector<Tensor> mine;
      for (const Entry &entry : list)
        if (entry.gradient.present() &&
            (entry.parameter->name == parameter.name ||
             entry.parameter->tiedTo == parameter.name))
          mine.push_back(entry.gradient);
      if (mine.empty())
        continue;
      const Tensor &sum = mine[0];
      for (size_t i = 1; i < mine.size(); ++i)
        kernels.add(pool.parallel(), sum, mine[i], sum);
      MOE_RETURN_IF_ERROR(transport.allReduceSum({ranks.begin(), ranks.end()},
                                                 sum.data, sum.elements(),
                                                 sum.dtype, parameter.name));
      for (size_t i = 1; i < mine.size(); ++i)
        std::memcpy(mine[i].data, sum.data,
                    static_cast<size_t>(sum.elements() * byteSize(sum.dtype)));
    }
  return {};
}

Result<double> Parameters::gradientNorm() {
  double squares = 0;
  for (const Entry &entry : list) {
    bool isDense = entry.parameter->replication == plan::Replication::dense;
    bool counts = at.data == 0 && (!isDense || at.expert == 0) &&
                  entry.parameter->tiedTo.empty();
    if (entry.gradient.present() && counts)
      squares += kernels.sumOfSquares(pool.parallel(), entry.gradient);
  }
  Result<double> total = transport.sum(world, squares, "gradient norm");
  if (!total)
    return total.error();
  return std::sqrt(*total);
}

void Parameters::update(const OptimizerOptions &options, int64_t step,
                        double gradientNorm) {
  double scale = options.clip > 0 && gradientNorm > options.clip
                     ? options.clip / gradientNorm
                     : 1.0;
  for (const Entry &entry : list) {
    if (!entry.gradient.present())
      continue;
    kernels.adamw(pool.parallel(), entry.weight, entry.gradient, entry.master,
                  entry.firstMoment, entry.secondMoment, options.rate(step),
                  options.beta1, options.beta2, options.epsilon,
                  entry.parameter->decay ? options.weightDecay : 0.0, scale,
                  step);
  }
}

} // namespace moe::exec
