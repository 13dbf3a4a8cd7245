//===- Proof.cpp - what check() has proven of a plan ----------------------===//

#include "runtime/Plan/Proof.h"
#include "runtime/Plan/Checks.h"
#include "runtime/Plan/Trace.h"

#include <algorithm>

namespace moe::plan {
namespace {

constexpr Rule kRules[] = {
    {"form", "every field, reference, size and alignment is valid"},
    {"read-after-write", "every op reads what was written, and when it was: "
                         "streams wait where they must"},
    {"one-release", "everything that is allocated is released exactly once, on "
                    "every path, and not used afterwards"},
    {"disjoint", "no two live buffers share a byte"},
    {"reuse-after-use", "bytes are written or given back when every use of "
                        "them on any stream, link or peer is over"},
    {"end-of-step", "nothing but parameters, gradients and optimizer state is "
                    "live at the end"},
    {"gradients", "every microbatch runs each of its programs once, and adds "
                  "to each gradient in order, before it is reduced"},
    {"messages", "the k-th send to a peer is its k-th receive: same bytes of "
                 "the same microbatch"},
    {"collectives", "all ranks of a group meet in the same collectives in the "
                    "same order"},
    {"no-deadlock", "every rank ends, however the ranks are interleaved"},
    {"loss", "the loss of every microbatch is collected once"},
    {"claims", "live bytes of every class are what the plan says, at every op "
               "and step, and so are peak and fit"},
};

/// What the reason of an error says, and the rule that it belongs to; the first
/// that matches decides.
constexpr std::pair<std::string_view, std::string_view> kReasons[] = {
    {"deadlock:", "no-deadlock"},
    {"ranks meet in different steps", "collectives"},
    {"may still be writing it", "read-after-write"},
    {"may still be adding to it", "gradients"},
    {"may still be using", "reuse-after-use"},
    {"is used before it is written", "read-after-write"},
    {"is neither an input of the program nor written", "read-after-write"},
    {"is still being received", "read-after-write"},
    {"is freed while it is being sent", "reuse-after-use"},
    {"was sent to that peer and not waited for", "reuse-after-use"},
    {"was not sent to that peer before", "one-release"},
    {"is live after the last step", "end-of-step"},
    {"leak: no wait_send", "end-of-step"},
    {"leak:", "one-release"},
    {"was overwritten", "reuse-after-use"},
    {"takes over the bytes of", "reuse-after-use"},
    {"was released", "one-release"},
    {"is written a second time", "one-release"},
    {"is an input of the program", "one-release"},
    {"is live already", "one-release"},
    {"is not live", "one-release"},
    {"is not written, so", "one-release"},
    {"programs of one stage overlap", "gradients"},
    {"overlap", "disjoint"},
    {"is in slot", "disjoint"},
    {"for this send", "messages"},
    {"for this receive", "messages"},
    {"it meets", "messages"},
    {"the loss of microbatch", "loss"},
    {"has run for", "gradients"},
    {"has not run", "gradients"},
    {"has made gradients", "gradients"},
    {"never runs", "gradients"},
    {"runs forward, but", "gradients"},
    {"gradients", "gradients"},
    {"after the update", "gradients"},
    {"already an update", "gradients"},
    {"claims", "claims"},
    {"the replay has its peak", "claims"},
    {"is only -1 for a rank without steps", "claims"},
    {"bytes are live, the", "claims"},
};

/// The rule of this name, of which there is one.
Rule ruleNamed(std::string_view name) {
  for (const Rule &rule : kRules)
    if (rule.name == name)
      return rule;
  return {};
}

/// Numbers of one program, for each run of it.
struct Counts {
  int64_t reads = 0, buffers = 0, exchanges = 0, additions = 0;
};

Counts count(const Program &program) {
  Counts counts;
  auto present = [](const std::vector<ValueIndex> &values) {
    return static_cast<int64_t>(values.size()) -
           std::count(values.begin(), values.end(), -1);
  };
  for (const Op &op : program.ops) {
    counts.reads += present(op.inputs);
    counts.buffers += present(op.outputs) + (op.scratchBytes > 0 ? 1 : 0);
    counts.exchanges += op.stream == Stream::expert_communication ? 1 : 0;
    counts.additions +=
        std::string_view(op.kind).ends_with("_weight_grad") ? 1 : 0;
  }
  return counts;
}

std::vector<Proven> proven(const Plan &plan) {
  int64_t ops = 0, steps = 0, runs = 0, messages = 0, meetings = 0, losses = 0,
          claims = 1;
  Counts all;
  std::vector<std::array<Counts, kPhaseCount>> programs(plan.stages.size());
  for (size_t s = 0; s < plan.stages.size(); ++s)
    for (const Program &program : plan.stages[s].programs) {
      programs[s][static_cast<size_t>(program.phase)] = count(program);
      ops += static_cast<int64_t>(program.ops.size());
    }
  auto run = [&](int64_t stage, Phase phase) {
    const Counts &own = programs[stage][static_cast<size_t>(phase)];
    all.reads += own.reads;
    all.buffers += own.buffers;
    all.exchanges += own.exchanges;
    all.additions += own.additions;
    ++runs;
  };
  for (const Rank &rank : plan.ranks) {
    steps += static_cast<int64_t>(rank.steps.size());
    claims += 2 + static_cast<int64_t>(rank.steps.size());
    for (const Overlap &overlap : rank.overlaps)
      claims += static_cast<int64_t>(overlap.order.size());
    for (const Step &step : rank.steps) {
      if (isExecution(step.kind))
        run(step.stage, step.phase);
      if (step.kind == StepKind::overlap) {
        const auto &[stage, phase] = rank.overlaps[step.overlap].members[1];
        run(stage, phase);
      }
      all.buffers +=
          step.kind == StepKind::load || step.kind == StepKind::receive;
      messages += step.kind == StepKind::send;
      losses += step.kind == StepKind::collect_loss;
      meetings += !isOfMicrobatch(step.kind);
    }
  }
  claims += ops;
  auto of = [](std::string_view name, int64_t count, std::string_view unit) {
    return Proven{ruleNamed(name), count, unit};
  };
  return {of("form", ops, "ops"),
          of("read-after-write", all.reads, "reads"),
          of("one-release", all.buffers, "buffers"),
          of("disjoint", all.buffers, "buffers"),
          of("reuse-after-use", all.buffers, "buffers"),
          of("end-of-step", static_cast<int64_t>(plan.ranks.size()), "ranks"),
          of("gradients", all.additions, "additions in programs"),
          of("messages", messages, "messages"),
          of("collectives", all.exchanges + meetings, "collectives"),
          of("no-deadlock", steps, "steps"),
          of("loss", losses, "losses"),
          of("claims", claims, "claims")};
}

} // namespace

std::vector<Rule> rules() { return {std::begin(kRules), std::end(kRules)}; }

std::string_view ruleOf(std::string_view message) {
  // Names stand in quotes; the words of a reason do not.
  std::string words;
  bool quoted = false;
  for (char c : message) {
    quoted ^= c == '"';
    if (!quoted)
      words += c;
  }
  for (const auto &[reason, rule] : kReasons)
    if (words.find(reason) != std::string::npos)
      return rule;
  return "form";
}

Proof prove(const Plan &plan) {
  if (Status status = checkStructure(plan); !status) {
    const std::string &message = status.error().message;
    return {{}, Counterexample{ruleOf(message), message, {}}};
  }
  if (Status status = checkMeaning(plan); !status) {
    const std::string &message = status.error().message;
    return {{}, Counterexample{ruleOf(message), message, trace(plan, message)}};
  }
  return {proven(plan), std::nullopt};
}

} // namespace moe::plan
