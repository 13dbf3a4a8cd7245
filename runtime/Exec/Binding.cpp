#include "runtime/Exec/Binding.h"

#include "runtime/Exec/Shapes.h"
#include "support/TokenRole.h"

#include <limits>
#include <set>

namespace moe::exec {
namespace {

/// The view of a shape; a rank above that of Tensor is refused by the caller.
kernels::Tensor makeTensor(DType dtype, const std::vector<int64_t> &shape) {
  kernels::Tensor tensor;
  tensor.dtype = dtype;
  tensor.rank = static_cast<int>(shape.size());
  for (size_t i = 0; i < shape.size(); ++i)
    tensor.dims[i] = shape[i];
  return tensor;
}

DType wideOf(DType dtype) {
  return dtype == DType::f64 ? DType::f64 : DType::f32;
}

/// Who makes the numbers of a value: an op of the stage or a load step.
struct Origin {
  std::string_view kind;       ///< of the op, or "load"
  const BoundOp *op = nullptr; ///< null for a load
  std::string_view output;     ///< the op's name for the value
};
using Origins = std::map<plan::ValueIndex, std::vector<Origin>>;

} // namespace

class Binder {
public:
  explicit Binder(const plan::Plan &plan) : plan(plan) {}

  Result<Binding> run() {
    MOE_RETURN_IF_ERROR(checkLayout());
    binding.source = &plan;
    binding.smallestVocabulary = std::numeric_limits<int64_t>::max();
    binding.world = {plan.layout.pipeline, plan.layout.expert,
                     plan.layout.data};
    binding.stages.resize(plan.stages.size());
    for (size_t s = 0; s < plan.stages.size(); ++s)
      MOE_RETURN_IF_ERROR(bindStage(s));
    for (const plan::Rank &rank : plan.ranks)
      MOE_RETURN_IF_ERROR(checkSteps(rank));
    return std::move(binding);
  }

private:
  Status checkLayout() const {
    if (plan.layout.tensor != 1 || plan.layout.context != 1)
      return Error{"the plan splits tensors or contexts (tensor " +
                   std::to_string(plan.layout.tensor) + ", context " +
                   std::to_string(plan.layout.context) +
                   "); the runtime executes layouts with 1 and 1"};
    return {};
  }

  /// Loads fill whole microbatches.
  Status checkSteps(const plan::Rank &rank) const {
    int64_t tokens = plan.layout.microbatchSize * plan.layout.sequenceLength;
    for (size_t i = 0; i < rank.steps.size(); ++i) {
      const plan::Step &step = rank.steps[i];
      if (step.kind != plan::StepKind::load)
        continue;
      const kernels::Tensor &value =
          binding.stage(step.stage).values[static_cast<size_t>(step.value)];
      if (value.elements() != tokens)
        return Error{"$.ranks[" + std::to_string(rank.rank) + "].steps[" +
                     std::to_string(i) + "].value: is " + describe(value) +
                     ", but a microbatch has " + std::to_string(tokens) +
                     " tokens"};
    }
    return {};
  }

  Status bindStage(size_t index) {
    const plan::Stage &stage = plan.stages[index];
    BoundStage &bound = binding.stages[index];
    auto tooManyDims = [&](const std::string &what) {
      return Error{"stage " + stage.name + ": '" + what +
                   "' has more than 4 dimensions"};
    };
    for (const plan::Value &value : stage.values) {
      if (value.shape.size() > 4)
        return tooManyDims(value.name);
      bound.values.push_back(makeTensor(value.dtype, value.shape));
    }
    for (const plan::Parameter &parameter : stage.parameters) {
      if (parameter.shape.size() > 4)
        return tooManyDims(parameter.name);
      bound.weights.push_back(makeTensor(parameter.dtype, parameter.shape));
      bound.gradients.push_back(
          makeTensor(wideOf(parameter.dtype), parameter.shape));
    }
    for (const plan::Program &program : stage.programs) {
      auto &ops = bound.programs[static_cast<size_t>(program.phase)];
      ops.emplace();
      for (const plan::Op &op : program.ops) {
        ops->push_back({&op, findSignature(op.kind), {}, {}});
        if (Status status = bindOp(stage, bound, ops->back()); !status)
          return Error{"stage " + stage.name + ", " +
                       std::string(plan::name(program.phase)) + ", op '" +
                       op.name + "' (" + op.kind +
                       "): " + status.error().message};
      }
    }
    return checkOrigins(index);
  }

  Status bindOp(const plan::Stage &stage, const BoundStage &bound,
                BoundOp &op) {
    if (!op.signature)
      return Error{"the runtime has no such kind of op"};
    const Signature &signature = *op.signature;
    MOE_RETURN_IF_ERROR(decode(signature.attributes, *op.op, op.attributes));
    ShapeMatcher matcher(plan.dtype);
    for (const AttributeRule &rule : signature.attributes)
      if (!rule.symbol.empty())
        matcher.define(rule.symbol, std::get<AttributeRule::Integer>(
                                        rule.target)(op.attributes));
    MOE_RETURN_IF_ERROR(matchList("inputs", signature.inputs, op.op->inputs,
                                  bound.values, matcher));
    MOE_RETURN_IF_ERROR(matchList("parameters", signature.parameters,
                                  op.op->parameters, bound.weights, matcher));
    MOE_RETURN_IF_ERROR(matchList("outputs", signature.outputs, op.op->outputs,
                                  bound.values, matcher));
    MOE_RETURN_IF_ERROR(checkOverwriting(stage, op));
    op.dimensions = matcher.dimensions();
    const Dimensions &dimensions = op.dimensions;
    if (signature.check)
      MOE_RETURN_IF_ERROR(signature.check(dimensions, op.attributes));
    if (signature.scratch) {
      int64_t needed = signature.scratch(dimensions, byteSize(plan.dtype),
                                         byteSize(wideOf(plan.dtype)));
      if (op.op->scratchBytes < needed)
        return Error{"needs " + std::to_string(needed) +
                     " bytes of scratch, has " +
                     std::to_string(op.op->scratchBytes)};
    }
    if (dimensions.contains("R") && dimensions.at("R") != plan.layout.expert)
      return Error{"attribute 'ranks' is " +
                   std::to_string(dimensions.at("R")) + ", the layout has " +
                   std::to_string(plan.layout.expert) +
                   " expert-parallel ranks"};
    if (dimensions.contains("V"))
      binding.smallestVocabulary =
          std::min(binding.smallestVocabulary, dimensions.at("V"));
    MOE_RETURN_IF_ERROR(checkStream(op));
    if (signature.accumulates)
      for (plan::ParameterIndex p : op.op->parameters)
        if (p >= 0 && !stage.parameters[static_cast<size_t>(p)].trainable)
          return Error{"parameter '" +
                       stage.parameters[static_cast<size_t>(p)].name +
                       "' is not trainable and has no gradient"};
    return {};
  }

  /// An op overwrites only what its kernel has read before it writes.
  static Status checkOverwriting(const plan::Stage &stage, const BoundOp &op) {
    const std::vector<plan::ValueIndex> &outputs = op.op->outputs;
    const std::vector<plan::ValueIndex> &inputs = op.op->inputs;
    for (size_t o = 0; o < outputs.size(); ++o) {
      if (outputs[o] < 0)
        continue;
      plan::ValueIndex overwritten =
          stage.values[static_cast<size_t>(outputs[o])].overwrites;
      for (size_t i = 0; overwritten >= 0 && i < inputs.size(); ++i)
        if (inputs[i] == overwritten &&
            (o != 0 || op.signature->overwritable != i))
          return Error{
              "'" + std::string(parseOperand(op.signature->outputs[o]).name) +
              "' would overwrite '" +
              std::string(parseOperand(op.signature->inputs[i]).name) +
              "', which the kernel may still have to read"};
    }
    return {};
  }

  /// The waits of a plan order uses of values. What ops on different streams
  /// share beyond values has to stay on one of them: the meetings of a group,
  /// and gradients, whose bits depend on the order of additions.
  static Status checkStream(const BoundOp &op) {
    auto mustBeOn = [&](plan::Stream stream) -> Status {
      if (op.op->stream == stream)
        return {};
      return Error{"must be on stream " + std::string(plan::name(stream)) +
                   ", is on " + std::string(plan::name(op.op->stream))};
    };
    if (op.signature->copies)
      return mustBeOn(*op.signature->copies);
    if (op.op->stream == plan::Stream::copy_out ||
        op.op->stream == plan::Stream::copy_in)
      return Error{"is no copy, hence cannot be on stream " +
                   std::string(plan::name(op.op->stream))};
    if (op.signature->exchanges)
      return mustBeOn(plan::Stream::expert_communication);
    if (op.signature->accumulates)
      return mustBeOn(plan::Stream::compute);
    return {};
  }

  static Status matchList(const char *list,
                          const std::vector<std::string_view> &patterns,
                          const std::vector<int64_t> &indices,
                          const std::vector<kernels::Tensor> &tensors,
                          ShapeMatcher &matcher) {
    if (patterns.size() != indices.size())
      return Error{"takes " + std::to_string(patterns.size()) + " " + list +
                   ", has " + std::to_string(indices.size())};
    for (size_t i = 0; i < patterns.size(); ++i) {
      OperandPattern pattern = parseOperand(patterns[i]);
      if (indices[i] >= 0)
        MOE_RETURN_IF_ERROR(
            matcher.match(pattern, tensors[static_cast<size_t>(indices[i])]));
      else if (!pattern.optional)
        return Error{"'" + std::string(pattern.name) + "' is missing"};
    }
    return {};
  }

  /// What copies hold was made by what made the original.
  static void followCopies(Origins &origins) {
    auto isCopy = [](const Origin &origin) {
      return origin.op && origin.op->signature->copies;
    };
    for (auto &[value, list] : origins) {
      std::set<const BoundOp *> followed;
      for (size_t i = 0; i < list.size(); ++i) {
        if (!isCopy(list[i]) || !followed.insert(list[i].op).second)
          continue;
        auto of = origins.find(list[i].op->op->inputs[0]);
        if (of == origins.end())
          continue;
        std::vector<Origin> originals = of->second;
        list.insert(list.end(), originals.begin(), originals.end());
      }
      std::erase_if(list, isCopy);
    }
  }

  /// Values that hold indices must come from where their numbers are in range.
  Status checkOrigins(size_t index) const {
    const plan::Stage &stage = plan.stages[index];
    Origins origins;
    for (const plan::Step &step :
         plan.ranks[static_cast<size_t>(stage.rank)].steps)
      if (step.kind == plan::StepKind::load &&
          step.stage == static_cast<int64_t>(index))
        origins[step.value].push_back({"load", nullptr, {}});
    const BoundStage &bound = binding.stages[index];
    for (const auto &program : bound.programs)
      if (program)
        for (const BoundOp &op : *program)
          for (size_t i = 0; i < op.op->outputs.size(); ++i)
            if (op.op->outputs[i] >= 0)
              origins[op.op->outputs[i]].push_back(
                  {op.op->kind, &op,
                   parseOperand(op.signature->outputs[i]).name});
    followCopies(origins);
    for (const auto &program : bound.programs)
      if (program)
        for (const BoundOp &op : *program)
          for (size_t i = 0; i < op.op->inputs.size(); ++i)
            if (Status status = checkOrigin(op, i, origins); !status)
              return Error{"stage " + stage.name + ", op '" + op.op->name +
                           "' (" + op.op->kind +
                           "): " + status.error().message};
    return {};
  }

  /// Whatever makes a value must be one of what the operand may come from.
  static Status checkOrigin(const BoundOp &op, size_t input,
                            const Origins &origins) {
    OperandPattern pattern = parseOperand(op.signature->inputs[input]);
    plan::ValueIndex value = op.op->inputs[input];
    if (pattern.from.empty() || value < 0)
      return {};
    auto found = origins.find(value);
    if (found == origins.end() || found->second.empty())
      return comesFrom(pattern);
    for (const Origin &origin : found->second) {
      if (origin.kind != pattern.from ||
          (origin.op && origin.output != pattern.name))
        return comesFrom(pattern);
      if (origin.op)
        MOE_RETURN_IF_ERROR(checkNumbers(op, pattern, *origin.op));
    }
    return {};
  }

  static Error comesFrom(const OperandPattern &pattern) {
    return {"'" + std::string(pattern.name) + "' must come from a " +
            std::string(pattern.from)};
  }

  /// The numbers are in range for the experts, ranks and rows of their origin.
  static Status checkNumbers(const BoundOp &op, const OperandPattern &pattern,
                             const BoundOp &origin) {
    for (const char *symbol : {"E", "R", "k", "C"}) {
      auto there = origin.dimensions.find(symbol);
      auto here = op.dimensions.find(symbol);
      if (there != origin.dimensions.end() && here != op.dimensions.end() &&
          there->second != here->second)
        return Error{"'" + std::string(pattern.name) + "' was made by '" +
                     origin.op->name + "' for " + symbol + " = " +
                     std::to_string(there->second) + ", here it is " +
                     std::to_string(here->second)};
    }
    return {};
  }

  const plan::Plan &plan;
  Binding binding;
};

Result<Binding> Binding::create(const plan::Plan &plan) {
  return Binder(plan).run();
}

bool Binding::updates() const {
  for (const plan::Step &step : source->ranks[0].steps)
    if (step.kind == plan::StepKind::update)
      return true;
  return false;
}

int64_t Binding::furthestShift() const {
  int64_t furthest = 1;
  for (const plan::Rank &rank : source->ranks)
    for (const plan::Step &step : rank.steps)
      if (step.kind == plan::StepKind::load)
        furthest = std::max(furthest, parseTokenRole(step.role).value_or(0));
  return furthest;
}

} // namespace moe::exec
