//===- Trace.cpp - the events behind an error of check() ------------------===//

#include "runtime/Plan/Trace.h"
#include "runtime/Plan/Checks.h"

#include <algorithm>
#include <charconv>

namespace moe::plan {
namespace {

/// Reads "$.stages[2].programs[0].ops[7].inputs[1]" from its front.
class PathReader {
public:
  explicit PathReader(std::string_view text) : text(text) {}

  /// The index behind `key` when that comes next; it must be below `size`.
  std::optional<int64_t> index(std::string_view key, size_t size) {
    if (!text.starts_with(key))
      return std::nullopt;
    const char *begin = text.data() + key.size();
    int64_t value = 0;
    auto [end, error] =
        std::from_chars(begin, text.data() + text.size(), value);
    if (error != std::errc() || end == text.data() + text.size() ||
        *end != ']' || value < 0 || value >= static_cast<int64_t>(size))
      return std::nullopt;
    text.remove_prefix(static_cast<size_t>(end + 1 - text.data()));
    return value;
  }

private:
  std::string_view text;
};

/// The text between the first `before` and the next `after`; empty without.
std::string_view between(std::string_view text, std::string_view before,
                         std::string_view after) {
  size_t begin = text.find(before);
  if (begin == std::string_view::npos)
    return {};
  begin += before.size();
  size_t end = text.find(after, begin);
  return end == std::string_view::npos ? std::string_view()
                                       : text.substr(begin, end - begin);
}

class Tracer {
public:
  Tracer(const Plan &plan, std::string_view message)
      : plan(plan), message(message) {}

  std::vector<std::string> run() {
    noteInstance();
    for (size_t at = message.find("$."); at != std::string_view::npos;
         at = message.find("$.", at + 2))
      notePath(message.substr(at));
    return std::move(lines);
  }

private:
  void add(std::string line) {
    if (std::find(lines.begin(), lines.end(), line) == lines.end())
      lines.push_back(std::move(line));
  }

  std::string describe(int64_t rank, int64_t index) const {
    const Step &step = plan.ranks[rank].steps[index];
    std::string text = "rank " + std::to_string(rank) + ", step " +
                       std::to_string(index) + ": " +
                       std::string(name(step.kind));
    if (!isOfMicrobatch(step.kind))
      return text;
    auto of = [&](int64_t stage, int64_t microbatch) {
      return " of stage " + plan.stages[stage].name + ", microbatch " +
             std::to_string(microbatch);
    };
    if (isExecution(step.kind))
      text += " " + std::string(name(step.phase));
    else
      text += " " + quoted(plan.stages[step.stage].values[step.value].name);
    text += of(step.stage, step.microbatch);
    if (step.kind == StepKind::overlap) {
      const auto &[stage, phase] =
          plan.ranks[rank].overlaps[step.overlap].members[1];
      text += ", with " + std::string(name(phase)) +
              of(stage, step.secondMicrobatch);
    }
    if (hasPeer(step.kind))
      text += (step.kind == StepKind::receive ? ", from rank " : ", to rank ") +
              std::to_string(step.peer);
    return text;
  }

  std::string describe(const Stage &stage, const Program &program,
                       size_t index) const {
    const Op &op = program.ops[index];
    std::string text = "rank " + std::to_string(stage.rank) + ", stage " +
                       stage.name + ", " + std::string(name(program.phase)) +
                       ", op " + std::to_string(index) + ": " + op.name + " (" +
                       op.kind + ") on " + std::string(name(op.stream));
    for (int64_t wait : op.waits)
      if (wait >= 0 && wait < static_cast<int64_t>(program.ops.size()))
        text += ", waits for op " + std::to_string(wait) + ": " +
                program.ops[wait].name;
    return text;
  }

  /// Where the value that the message is about was made or last released.
  void noteInstance() {
    std::string_view value = between(message, "value \"", "\"");
    std::string_view stage = between(message, "\" of stage \"", "\"");
    std::string_view number = between(message, ", microbatch ", " ");
    if (number.ends_with(','))
      number.remove_suffix(1);
    bool leaks = message.find("leak:") != std::string_view::npos;
    if (value.empty() || stage.empty() || number.empty() || !leaks)
      return;
    for (size_t s = 0; s < plan.stages.size(); ++s)
      if (plan.stages[s].name == stage)
        noteMaker(static_cast<int64_t>(s), value, number);
  }

  void noteMaker(int64_t s, std::string_view value, std::string_view number) {
    const Stage &stage = plan.stages[s];
    const std::vector<Step> &steps = plan.ranks[stage.rank].steps;
    for (size_t i = 0; i < steps.size(); ++i) {
      const Step &step = steps[i];
      bool isMember =
          step.kind == StepKind::overlap &&
          plan.ranks[stage.rank].overlaps[step.overlap].members[1].stage == s &&
          std::to_string(step.secondMicrobatch) == number;
      if (!isMember &&
          (step.stage != s || std::to_string(step.microbatch) != number))
        continue;
      if (hasValue(step.kind)) {
        if (stage.values[step.value].name == value)
          add(describe(stage.rank, static_cast<int64_t>(i)));
      } else if (isExecution(step.kind)) {
        Phase phase =
            isMember
                ? plan.ranks[stage.rank].overlaps[step.overlap].members[1].phase
                : step.phase;
        const Program &program = programOf(plan, s, phase);
        for (size_t o = 0; o < program.ops.size(); ++o)
          for (ValueIndex output : program.ops[o].outputs)
            if (output != -1 && stage.values[output].name == value) {
              add(describe(stage.rank, static_cast<int64_t>(i)));
              add(describe(stage, program, o));
            }
      }
    }
  }

  void notePath(std::string_view path) {
    PathReader reader(path);
    if (auto s = reader.index("$.stages[", plan.stages.size())) {
      const Stage &stage = plan.stages[*s];
      auto p = reader.index(".programs[", stage.programs.size());
      if (!p)
        return;
      const Program &program = stage.programs[*p];
      noteFirstRun(*s, program.phase);
      auto o = reader.index(".ops[", program.ops.size());
      noteOps(stage, program, o ? *o : -1);
      return;
    }
    auto r = reader.index("$.ranks[", plan.ranks.size());
    if (!r)
      return;
    const Rank &rank = plan.ranks[*r];
    // Of a peak, the step that has it.
    std::string_view number = between(message, "at step ", ",");
    int64_t peak = -1;
    std::from_chars(number.data(), number.data() + number.size(), peak);
    if (peak >= 0 && peak < static_cast<int64_t>(rank.steps.size()))
      add(describe(*r, peak));
    if (auto step = reader.index(".steps[", rank.steps.size()))
      return add(describe(*r, *step));
    if (auto v = reader.index(".overlaps[", rank.overlaps.size())) {
      for (size_t i = 0; i < rank.steps.size(); ++i)
        if (rank.steps[i].overlap == *v) {
          add(describe(*r, static_cast<int64_t>(i)));
          break;
        }
      for (const Overlap::Member &member : rank.overlaps[*v].members)
        noteOps(plan.stages[member.stage],
                programOf(plan, member.stage, member.phase), -1);
    }
  }

  void noteFirstRun(int64_t stage, Phase phase) {
    int64_t rank = plan.stages[stage].rank;
    const std::vector<Step> &steps = plan.ranks[rank].steps;
    for (size_t i = 0; i < steps.size(); ++i)
      if (isExecution(steps[i].kind) && steps[i].stage == stage &&
          steps[i].phase == phase)
        return add(describe(rank, static_cast<int64_t>(i)));
  }

  /// The ops of a program that the message names, the one at `index`, and who
  /// made or released the value that it is about; in issue order.
  void noteOps(const Stage &stage, const Program &program, int64_t index) {
    std::string_view value = between(message, "value \"", "\"");
    bool asksRelease = message.find("was released") != std::string_view::npos;
    for (size_t o = 0; o < program.ops.size(); ++o) {
      const Op &op = program.ops[o];
      auto has = [&](const std::vector<ValueIndex> &list) {
        return std::any_of(list.begin(), list.end(), [&](ValueIndex v) {
          return v != -1 && stage.values[v].name == value;
        });
      };
      bool asksOverwriter =
          message.find("was overwritten") != std::string_view::npos &&
          std::any_of(op.outputs.begin(), op.outputs.end(), [&](ValueIndex v) {
            return v != -1 && stage.values[v].overwrites != -1 &&
                   stage.values[stage.values[v].overwrites].name == value;
          });
      bool isNamed =
          message.find("op " + quoted(op.name)) != std::string_view::npos;
      bool isCause = !value.empty() &&
                     (has(op.outputs) || (asksRelease && has(op.releases)) ||
                      asksOverwriter);
      if (static_cast<int64_t>(o) == index || isNamed || isCause)
        add(describe(stage, program, o));
    }
  }

  const Plan &plan;
  std::string_view message;
  std::vector<std::string> lines;
};

} // namespace

std::vector<std::string> trace(const Plan &plan, std::string_view message) {
  return Tracer(plan, message).run();
}

} // namespace moe::plan
