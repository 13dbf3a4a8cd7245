#include "compiler/Export/Explain.h"

#include "compiler/Export/Phrases.h"
#include "compiler/Export/Summary.h"
#include "compiler/Export/Table.h"
#include "compiler/Export/Treatments.h"
#include "support/Words.h"

#include <algorithm>
#include <map>
#include <set>

namespace moe::report {

namespace {

constexpr size_t kWidth = 110;
/// Values that are told in full; of more, the rest is counted.
constexpr size_t kMostValues = 8;
using Align = Table::Align;

/// The most microbatches that hold something of a stage at once: those between
/// their forward and the end of their last backward.
int64_t mostInFlight(const plan::Plan &plan, const plan::Rank &rank,
                     int64_t stage) {
  int64_t now = 0, most = 0;
  bool splits = false, fuses = false;
  for (const plan::Program &program : plan.stages[stage].programs) {
    splits |= program.phase == plan::Phase::weight_grad;
    fuses |= program.phase == plan::Phase::backward;
  }
  if (!splits && !fuses)
    return 0;
  auto note = [&](int64_t of, plan::Phase phase) {
    if (of != stage)
      return;
    if (phase == plan::Phase::forward)
      most = std::max(most, ++now);
    else if (phase != plan::Phase::weight_grad)
      --now;
  };
  for (const plan::Step &step : rank.steps) {
    if (step.kind == plan::StepKind::run)
      note(step.stage, step.phase);
    else if (step.kind == plan::StepKind::overlap)
      for (const plan::Overlap::Member &member :
           rank.overlaps[step.overlap].members)
        note(member.stage, member.phase);
  }
  return most;
}

struct Use {
  const plan::Program *program;
  const plan::Op *op;
  bool writes;
};

std::vector<Use> usesOf(const plan::Stage &stage, plan::ValueIndex value) {
  std::vector<Use> uses;
  for (const plan::Program &program : stage.programs)
    for (const plan::Op &op : program.ops) {
      auto has = [&](const std::vector<plan::ValueIndex> &list) {
        return std::find(list.begin(), list.end(), value) != list.end();
      };
      if (has(op.outputs))
        uses.push_back({&program, &op, true});
      else if (has(op.inputs))
        uses.push_back({&program, &op, false});
    }
  return uses;
}

const plan::Decision *decisionOf(const plan::Plan &plan, int64_t stage,
                                 plan::ValueIndex value) {
  for (const plan::Decision &decision : plan.decisions)
    if (decision.stage == stage && decision.value == value)
      return &decision;
  return nullptr;
}

void line(std::string &text, const std::string &what,
          const std::string &content) {
  std::string head = "  " + what + std::string(10 - what.size(), ' ');
  for (const std::string &part : wrap(content, kWidth - head.size())) {
    text += head + part + "\n";
    head.assign(head.size(), ' ');
  }
}

std::string describeUse(const Use &use) {
  return use.op->name + " (" + std::string(name(use.program->phase)) + ", " +
         formatNanoseconds(use.op->timeNs) + ")";
}

std::string listUses(const std::vector<Use> &uses, bool writes) {
  std::string text;
  for (const Use &use : uses)
    if (use.writes == writes)
      text += (text.empty() ? "" : ", ") + describeUse(use);
  return text.empty() ? "nothing" : text;
}

/// What a kept value would cost otherwise.
void addAlternatives(std::string &text, const plan::Plan &plan,
                     const plan::Stage &stage, const plan::Value &value,
                     const std::vector<Use> &uses, int64_t inFlight) {
  std::string spared = formatBytes(value.bytes * inFlight) + " of the rank";
  const plan::Op *maker = nullptr;
  for (const Use &use : uses)
    if (use.writes && use.program->phase == plan::Phase::forward)
      maker = use.op;
  if (!maker) {
    line(text, "recompute", "impossible: it enters the stage");
  } else if (maker->kind == "route") {
    line(text, "recompute",
         "impossible: a second run of the router may decide differently");
  } else {
    std::string needs;
    for (plan::ValueIndex input : maker->inputs)
      if (input >= 0 && !plan::isKept(stage, input))
        needs += (needs.empty() ? "" : ", ") + stage.values[input].name;
    line(text, "recompute",
         "would spare " + spared + " for " + formatNanoseconds(maker->timeNs) +
             " a microbatch" +
             (needs.empty()
                  ? ""
                  : ", and what makes " + needs + " again, which is not kept") +
             "; --recompute " + std::string(partOf(value.name)));
  }
  double out = plan.machine.toHostBytesPerSecond,
         in = plan.machine.toDeviceBytesPerSecond;
  if (out > 0 && in > 0) {
    auto ns = [&](double rate) {
      return formatNanoseconds(
          static_cast<int64_t>(static_cast<double>(value.bytes) / rate * 1e9));
    };
    line(text, "offload",
         "would spare " + spared + " for " + ns(out) + " out and " + ns(in) +
             " back on the host link, hidden where other work runs meanwhile");
  }
}

std::string tell(const plan::Plan &plan, int64_t stageIndex,
                 plan::ValueIndex valueIndex) {
  const plan::Stage &stage = plan.stages[stageIndex];
  const plan::Value &value = stage.values[valueIndex];
  const plan::Rank &rank = plan.ranks[stage.rank];
  int64_t inFlight = mostInFlight(plan, rank, stageIndex);
  std::string shape;
  for (int64_t size : value.shape)
    shape += (shape.empty() ? "" : " x ") + formatCount(size);
  std::string text = value.name + "\n";
  line(text, "is",
       std::string(name(value.dtype)) + " " + shape + ", " +
           formatBytes(value.bytes) + ", class " +
           std::string(name(value.memoryClass)) + ", stage " + stage.name +
           " on rank " + std::to_string(stage.rank));
  if (value.overwrites != -1)
    line(text, "lies",
         "in the bytes of " + stage.values[value.overwrites].name +
             ", which it overwrites");
  std::vector<Use> uses = usesOf(stage, valueIndex);
  line(text, "made by", listUses(uses, true));
  line(text, "read by", listUses(uses, false));
  const plan::Decision *decision = decisionOf(plan, stageIndex, valueIndex);
  if (decision) {
    line(text, std::string(name(decision->action)),
         "spares " + formatBytes(decision->bytes) + " for each of " +
             counted(inFlight, "microbatch") + " in flight, " +
             formatBytes(decision->bytes * inFlight) + " of the rank; takes " +
             formatNanoseconds(decision->timeNs) +
             " a microbatch; because: " + decision->reason);
  } else if (plan::isKept(stage, valueIndex)) {
    line(text, "kept",
         "from forward to backward, once for each of at most " +
             counted(inFlight, "microbatch") + " in flight: " +
             formatBytes(value.bytes * inFlight) + " of the rank");
    addAlternatives(text, plan, stage, value, uses, inFlight);
  } else {
    line(text, "lives", "inside one program, or between two steps");
  }
  return text;
}

/// The figures of a stage for one microbatch: a row of the table.
std::vector<std::string> figuresOf(const plan::Plan &plan, size_t index) {
  const plan::Stage &stage = plan.stages[index];
  const int64_t inFlight =
      mostInFlight(plan, plan.ranks[stage.rank], static_cast<int64_t>(index));
  int64_t kept = 0;
  for (size_t v = 0; v < stage.values.size(); ++v)
    if (plan::isKept(stage, static_cast<plan::ValueIndex>(v)) &&
        !stage.values[v].isOnHost())
      kept += stage.values[v].bytes;
  std::map<plan::Action, int64_t> bytes;
  int64_t timeNs = 0;
  for (const plan::Decision &decision : plan.decisions) {
    if (decision.stage != static_cast<int64_t>(index))
      continue;
    bytes[decision.action] += decision.bytes;
    timeNs += decision.timeNs;
  }
  const int64_t recomputed = bytes[plan::Action::recompute],
                offloaded = bytes[plan::Action::offload];
  return {stage.name,
          std::to_string(stage.rank),
          std::to_string(inFlight),
          formatBytes(kept),
          formatBytes(recomputed),
          formatBytes(offloaded),
          formatBytes((recomputed + offloaded) * inFlight),
          formatNanoseconds(timeNs)};
}

/// "norm (layers 3-5)" for the values of a treatment: layers where others of
/// the stage treat the same value otherwise. Results of one op are one item
/// where they are of the same layers.
std::vector<std::string> itemsOf(const std::vector<Treated> &treated,
                                 std::string_view treatment) {
  std::vector<std::string_view> parts; // in the order of the stage
  std::map<std::string_view, std::vector<std::string>> blocks;
  std::set<std::string_view> differ;
  for (const Treated &value : treated) {
    const std::string_view part = partOf(value.name);
    if (value.treatment != treatment) {
      differ.insert(part);
      continue;
    }
    std::vector<std::string> &list = blocks[part];
    if (list.empty())
      parts.push_back(part);
    list.emplace_back(blockOf(value.name));
  }
  using Key = std::pair<std::string_view, std::string>; // op and layers
  std::vector<Key> keys;
  std::map<Key, std::vector<std::string_view>> groups;
  for (std::string_view part : parts) {
    const Key key{part.substr(0, part.find(':')),
                  differ.contains(part) ? " (" + placesOf(blocks[part]) + ")"
                                        : ""};
    if (groups[key].empty())
      keys.push_back(key);
    groups[key].push_back(part);
  }
  std::vector<std::string> items;
  for (const Key &key : keys)
    items.push_back(joinOutputs(groups[key]) + key.second);
  return items;
}

/// A line for each treatment that there is, wrapped between values.
std::string valuesOf(const plan::Plan &plan, size_t stage) {
  constexpr size_t width = 100;
  const std::vector<Treated> treated = treatedOf(plan, stage);
  if (std::all_of(treated.begin(), treated.end(), [](const Treated &value) {
        return value.treatment == plan::name(plan::Action::keep);
      }))
    return "      everything is kept\n";
  std::string text;
  for (plan::Action action :
       {plan::Action::keep, plan::Action::recompute, plan::Action::offload}) {
    const std::vector<std::string> items = itemsOf(treated, plan::name(action));
    std::string head = "      " + std::string(plan::name(action));
    head.resize(17, ' ');
    for (const std::string &line : wrapList(items, width - head.size())) {
      text += head + line + "\n";
      head.assign(head.size(), ' ');
    }
  }
  return text;
}

/// How many characters two names begin alike with.
size_t commonPrefix(std::string_view a, std::string_view b) {
  return static_cast<size_t>(
      std::mismatch(a.begin(), a.end(), b.begin(), b.end()).first - a.begin());
}

/// Names of values that somebody may have meant by `name`, which is none: of
/// the same block, if it names one, or alike; the likeliest first.
std::vector<std::string> namesLike(const plan::Plan &plan,
                                   std::string_view name) {
  const std::string_view block = blockOf(name);
  std::set<std::pair<size_t, size_t>> ranked; // by what differs, then in order
  std::vector<std::string> names;
  std::set<std::string_view> seen;
  for (size_t s = 0; s < plan.stages.size(); ++s)
    for (const Treated &value : treatedOf(plan, s)) {
      const std::string_view other =
          block.empty() ? partOf(value.name) : value.name;
      const size_t common = commonPrefix(name, other);
      const bool isLike = block.empty()
                              ? other.find(name) != std::string_view::npos ||
                                    2 * common > name.size()
                              : blockOf(other) == block;
      if (!isLike || !seen.insert(other).second)
        continue;
      ranked.emplace(name.size() - common, names.size());
      names.emplace_back(other);
    }
  std::vector<std::string> sorted;
  for (auto [differs, index] : ranked)
    sorted.push_back(names[index]);
  return sorted;
}

/// Blocks that have the value that `name` says of a block that has none.
std::vector<std::string> blocksWithPartOf(const plan::Plan &plan,
                                          std::string_view name) {
  std::vector<std::string> blocks;
  for (size_t s = 0; s < plan.stages.size(); ++s)
    for (const Treated &value : treatedOf(plan, s))
      if (!blockOf(value.name).empty() && partOf(value.name) == partOf(name))
        blocks.emplace_back(blockOf(value.name));
  return blocks;
}

/// The end of an error about `name`.
std::string nearNames(const plan::Plan &plan, std::string_view name) {
  if (std::vector<std::string> blocks = blocksWithPartOf(plan, name);
      !blocks.empty())
    return "; " + std::string(partOf(name)) + " is there for " +
           placesOf(blocks);
  const std::vector<std::string> names = namesLike(plan, name);
  std::string text;
  for (size_t i = 0; i < std::min(names.size(), kMostValues); ++i)
    text += (i == 0 ? "; similar: " : ", ") + names[i];
  if (names.size() > kMostValues)
    text += ", and " + std::to_string(names.size() - kMostValues) + " more";
  return text;
}

} // namespace

std::string explain(const plan::Plan &plan) {
  Table table;
  for (const char *heading :
       {"stage", "rank", "in flight", "kept", "recomputed", "offloaded",
        "spares the rank", "takes"})
    table.addColumn(heading, Align::right);
  for (size_t s = 0; s < plan.stages.size(); ++s) {
    table.addRow(figuresOf(plan, s));
    table.addBelow(valuesOf(plan, s));
  }
  return "For each microbatch in flight: what is kept on the device, and what "
         "is recomputed or offloaded instead\n" +
         table.print(2, kWidth);
}

Result<std::string> explain(const plan::Plan &plan, std::string_view name) {
  std::string text;
  size_t told = 0;
  for (size_t s = 0; s < plan.stages.size(); ++s) {
    const std::vector<plan::Value> &values = plan.stages[s].values;
    for (size_t v = 0; v < values.size(); ++v) {
      std::string_view part = partOf(values[v].name);
      // ":rows" and the like need not be given.
      std::string_view op = part.substr(0, part.find(':'));
      if (values[v].name != name && part != name && op != name &&
          values[v].name.substr(0, values[v].name.find(':')) != name)
        continue;
      if (++told <= kMostValues)
        text += tell(plan, static_cast<int64_t>(s),
                     static_cast<plan::ValueIndex>(v));
    }
  }
  if (told > kMostValues)
    text += "and " + std::to_string(told - kMostValues) +
            " more of this name; name one with its layer\n";
  if (told > 0)
    return text;
  return Error{"no value of the plan is called '" + std::string(name) + "'" +
               nearNames(plan, name)};
}

} // namespace moe::report
