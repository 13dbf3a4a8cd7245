//===- Switches.cpp - memory techniques as global switches ----------------===//

#include "test/bench/Switches.h"

#include "compiler/Optimize/PolicyText.h"
#include "compiler/Schedule/Generators.h"
#include "compiler/Schedule/Interleave.h"

#include <algorithm>
#include <limits>
#include <set>
#include <string_view>

namespace moe::bench {

namespace {

/// Budgets where no plan has to wait for bytes, with room for sums.
constexpr int64_t kUnlimited = int64_t{1} << 50;

/// Megatron-LM's --recompute-modules under our names (layernorm: norm).
constexpr std::string_view kRecomputeModules[] = {
    "norm", "core_attn",      "mla_up_proj", "moe_act",
    "mlp",  "shared_experts", "moe"};

/// Its --offload-modules, and the kept values of a layer that each moves.
struct OffloadModule {
  std::string_view name;
  std::vector<std::string_view> values;
};
const OffloadModule kOffloadModules[] = {
    {"attn_norm", {"embedding.lookup", "input", "ffn_residual"}},
    {"qkv_linear",
     {"input_norm", "attention.q_down", "attention.q_down_norm",
      "attention.kv_down", "attention.kv_down_norm", "attention.q_proj",
      "attention.k_proj"}},
    {"core_attn",
     {"attention.q_rope", "attention.k_rope", "attention.v_proj",
      "attention.key", "attention.v_up"}},
    {"attn_proj", {"attention.core"}},
    {"mlp_norm", {"attention_residual"}},
    {"expert_fc1", {"moe.dispatch:rows"}},
    {"moe_act", {"moe.experts.gate_up"}}};

/// "layers.3.mlp.act" without the layer: values and ops inside their block.
std::string_view partOf(std::string_view name) {
  constexpr std::string_view layers = "layers.";
  if (!name.starts_with(layers))
    return name;
  size_t dot = name.find('.', layers.size());
  return dot == std::string_view::npos ? name : name.substr(dot + 1);
}

const plan::Program *programOf(const plan::Stage &stage, plan::Phase phase) {
  for (const plan::Program &program : stage.programs)
    if (program.phase == phase)
      return &program;
  return nullptr;
}

std::string joined(const std::string &list, std::string_view item) {
  return list + (list.empty() ? "" : ",") + std::string(item);
}

} // namespace

/// What the plan of a recompute setting says of every stage, one a rank.
struct Switches::Figures {
  struct Stage {
    schedule::StageCosts costs;
    int64_t peakBytes = 0;
    /// Kept values by part: bytes of a microbatch.
    std::map<std::string, int64_t, std::less<>> kept;
    /// Time of their copies, of a microbatch.
    std::map<std::string, int64_t, std::less<>> outNs, inNs;
  };
  std::vector<Stage> stages;
  std::set<std::string, std::less<>> kept, ops; ///< of all stages, by part
  int64_t stepNs = 0;
  int64_t bytes = 0; ///< of the largest rank
};

Result<Switches> Switches::make(std::unique_ptr<driver::Inputs> inputs) {
  Result<driver::Compiler> compiler = driver::Compiler::make(*inputs);
  if (!compiler)
    return compiler.error();
  Switches made(std::move(inputs), std::move(*compiler));
  MOE_RETURN_IF_ERROR(made.addSettings());
  return made;
}

Result<driver::Draft> Switches::draft(const Switch &setting, int64_t bytes) {
  ++plans;
  return compiler.draft({inputs->request.schedule},
                        {{}, setting.recompute, setting.offload},
                        bytes + reserveBytes(), false);
}

Result<plan::Plan> Switches::planOf(const Switch &setting) {
  Result<driver::Draft> made = draft(setting, kUnlimited);
  if (!made)
    return made.error();
  Result<driver::PlanAnswer> answer = made->finish();
  return answer ? Result<plan::Plan>(std::move(answer->plan))
                : Result<plan::Plan>(answer.error());
}

Result<Switches::Figures> Switches::figuresOf(const Switch &setting) {
  Result<plan::Plan> plan = planOf(setting);
  if (!plan)
    return plan.error();
  Figures figures;
  figures.stepNs = plan->prediction.stepNs;
  for (const plan::Stage &stage : plan->stages) {
    const plan::Rank &rank = plan->ranks[static_cast<size_t>(stage.rank)];
    figures.bytes = std::max(figures.bytes, rank.arenaBytes);
    Figures::Stage &made = figures.stages.emplace_back();
    made.peakBytes = rank.peak.total();
    const plan::Program *forward = programOf(stage, plan::Phase::forward);
    const plan::Program *backward = programOf(stage, plan::Phase::backward);
    made.costs.forwardNs = schedule::durationNs(*forward);
    made.costs.inputGradNs = schedule::durationNs(*backward);
    auto partOfValue = [&](plan::ValueIndex value) {
      return std::string(partOf(stage.values[static_cast<size_t>(value)].name));
    };
    std::set<plan::ValueIndex> needed(backward->inputs.begin(),
                                      backward->inputs.end());
    for (plan::ValueIndex value : forward->outputs) {
      const plan::Value &each = stage.values[static_cast<size_t>(value)];
      if (!needed.contains(value) || each.isOnHost())
        continue;
      made.kept[partOfValue(value)] += each.bytes;
      figures.kept.insert(partOfValue(value));
    }
    for (const plan::Op &op : forward->ops) {
      figures.ops.emplace(partOf(op.name));
      if (op.stream == plan::Stream::copy_out)
        made.outNs[partOfValue(op.inputs.front())] += op.timeNs;
    }
    for (const plan::Op &op : backward->ops)
      if (op.stream == plan::Stream::copy_in)
        made.inNs[partOfValue(op.outputs.front())] += op.timeNs;
  }
  return figures;
}

namespace {

/// All subsets of the modules that the model has, and full recompute; each
/// only once where a module holds others.
std::vector<std::string>
recomputeSettings(const std::set<std::string, std::less<>> &kept,
                  const std::set<std::string, std::less<>> &ops) {
  std::vector<const policy::Target *> present;
  for (std::string_view name : kRecomputeModules) {
    const policy::Target *target = policy::findTarget(name);
    bool covers = std::any_of(kept.begin(), kept.end(), [&](auto &value) {
      return policy::covers(*target, value.substr(0, value.find(':')));
    });
    if (covers && (target->needs.empty() || ops.contains(target->needs)))
      present.push_back(target);
  }
  std::vector<std::string> settings;
  std::set<std::set<std::string>> known;
  for (size_t subset = 0; subset < size_t{1} << present.size(); ++subset) {
    std::string text;
    std::set<std::string> covered;
    for (size_t t = 0; t < present.size(); ++t)
      if (subset >> t & 1) {
        text = joined(text, present[t]->name);
        for (const std::string &value : kept)
          if (policy::covers(*present[t], value.substr(0, value.find(':'))))
            covered.insert(value);
      }
    if (known.insert(covered).second)
      settings.push_back(text);
  }
  settings.emplace_back("full");
  return settings;
}

} // namespace

Status Switches::addSettings() {
  Result<Figures> everything = figuresOf({});
  if (!everything)
    return everything.error();
  // What a value takes on the link, and on which stages it moves at all.
  Switch all;
  for (const OffloadModule &module : kOffloadModules)
    for (std::string_view value : module.values)
      if (everything->kept.contains(value))
        all.offload = joined(all.offload, value);
  Result<Figures> moved = figuresOf(all);
  if (!moved)
    return moved.error();

  const plan::Layout &layout = inputs->request.layout;
  schedule::ScheduleProblem problem;
  problem.ranks = layout.pipeline;
  problem.microbatches = layout.microbatches;
  Result<schedule::Schedule> order =
      schedule::generate(inputs->request.schedule, problem);
  if (!order)
    return order.error();

  for (const std::string &recompute :
       recomputeSettings(everything->kept, everything->ops)) {
    Switch alone;
    alone.recompute = recompute;
    Result<Figures> base = figuresOf(alone);
    if (!base)
      return base.error();
    std::set<std::string> known;
    for (size_t subset = 0; subset < size_t{1} << std::size(kOffloadModules);
         ++subset) {
      Switch setting = alone;
      std::vector<std::string_view> values;
      for (size_t m = 0; m < std::size(kOffloadModules); ++m) {
        if (!(subset >> m & 1))
          continue;
        setting.modules = joined(setting.modules, kOffloadModules[m].name);
        for (std::string_view value : kOffloadModules[m].values)
          if (base->kept.contains(value)) {
            setting.offload = joined(setting.offload, value);
            values.push_back(value);
          }
      }
      if (!known.insert(setting.offload).second)
        continue;
      schedule::Costs costs;
      for (size_t s = 0; s < base->stages.size(); ++s) {
        const Figures::Stage &stage = base->stages[s];
        int64_t outNs = 0, inNs = 0, bytes = 0;
        auto find = [](const auto &map, std::string_view key) {
          auto found = map.find(key);
          return found == map.end() ? int64_t{0} : found->second;
        };
        for (std::string_view value : values) {
          outNs += find(moved->stages[s].outNs, value);
          inNs += find(moved->stages[s].inNs, value);
          bytes += find(stage.kept, value);
        }
        // Copies take turns on their stream, and add nothing to the others.
        schedule::StageCosts &cost = costs.stages.emplace_back(stage.costs);
        cost.forwardNs = std::max(cost.forwardNs, outNs);
        cost.inputGradNs = std::max(cost.inputGradNs, inNs);
        // At the moment of the peak no more microbatches are under way.
        int64_t held = std::min(layout.microbatches,
                                layout.pipeline - static_cast<int64_t>(s));
        setting.leastBytes =
            std::max(setting.leastBytes, stage.peakBytes - held * bytes);
      }
      Result<schedule::Evaluation> step = schedule::evaluate(*order, costs);
      if (!step)
        return step.error();
      setting.leastNs = std::max(step->makespanNs, base->stepNs);
      if (setting.offload.empty()) {
        setting.bytesWithoutWaits = base->bytes;
        setting.nsWithoutWaits = base->stepNs;
      }
      settings.push_back(std::move(setting));
    }
  }
  return {};
}

/// The step of a setting within `bytes`; none where it does not fit.
Result<std::optional<int64_t>> Switches::stepWithin(Switch &setting,
                                                    int64_t bytes) {
  if (setting.nsWithoutWaits && *setting.bytesWithoutWaits <= bytes)
    return setting.nsWithoutWaits;
  Result<driver::Draft> made = draft(setting, bytes);
  if (!made)
    return made.error();
  auto largest = [](const std::vector<int64_t> &sizes) {
    return *std::max_element(sizes.begin(), sizes.end());
  };
  setting.bytesWithoutWaits = largest(made->bytesWithoutWaits);
  auto wrong = [&](const char *what, int64_t found, int64_t bound) {
    return Error{"recompute '" + setting.recompute + "', offload '" +
                 setting.offload + "': " + what + " " + std::to_string(found) +
                 " is below its bound " + std::to_string(bound)};
  };
  if (largest(made->arenaBytes) < setting.leastBytes)
    return wrong("arena", largest(made->arenaBytes), setting.leastBytes);
  if (largest(made->arenaBytes) > bytes)
    return std::optional<int64_t>();
  Result<driver::PlanAnswer> answer = made->finish();
  if (!answer)
    return answer.error();
  int64_t stepNs = answer->plan.prediction.stepNs;
  if (stepNs < setting.leastNs)
    return wrong("step", stepNs, setting.leastNs);
  if (!answer->plan.prediction.fits) { // the host's memory, whatever the budget
    setting.leastBytes = std::numeric_limits<int64_t>::max();
    return std::optional<int64_t>();
  }
  if (*setting.bytesWithoutWaits <= bytes)
    setting.nsWithoutWaits = stepNs;
  return std::optional(stepNs);
}

Result<Best> Switches::best(int64_t bytes, bool offloads, bool all) {
  std::vector<Switch *> byBound;
  for (Switch &setting : settings)
    if (offloads || setting.offload.empty())
      byBound.push_back(&setting);
  std::sort(byBound.begin(), byBound.end(),
            [](const Switch *a, const Switch *b) { // equal ones as they lie
              return std::pair(a->leastNs, a) < std::pair(b->leastNs, b);
            });
  Best best;
  for (Switch *setting : byBound) {
    if (!all && best.setting && setting->leastNs >= best.stepNs)
      break;
    if (!all && setting->leastBytes > bytes)
      continue;
    Result<std::optional<int64_t>> stepNs = stepWithin(*setting, bytes);
    if (!stepNs)
      return stepNs.error();
    if (*stepNs && (!best.setting || **stepNs < best.stepNs))
      best = {setting, **stepNs};
  }
  return best;
}

Result<int64_t> Switches::leastBytes() {
  int64_t least = std::numeric_limits<int64_t>::max();
  for (const Switch &setting : settings) {
    if (!setting.offload.empty())
      continue;
    Result<driver::Draft> made = draft(setting, 0);
    if (!made)
      return made.error();
    least = std::min(least, *std::max_element(made->arenaBytes.begin(),
                                              made->arenaBytes.end()));
  }
  return least;
}

} // namespace moe::bench
