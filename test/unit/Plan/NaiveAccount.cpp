//===- NaiveAccount.cpp - live bytes, value by value ----------------------===//

#include "NaiveAccount.h"

#include <algorithm>
#include <set>
#include <tuple>

namespace moe::plan {
namespace {

/// Keeps account of live bytes value by value, for all claims of a plan.
class Accountant {
public:
  explicit Accountant(Plan &plan) : plan(plan) {}

  void run() {
    for (size_t s = 0; s < plan.stages.size(); ++s)
      for (Program &program : plan.stages[s].programs) {
        start({{int64_t(s), &program, 0}});
        for (Op &op : program.ops)
          op.live = issue({int64_t(s), &program, 0}, op);
      }
    for (Rank &rank : plan.ranks) {
      for (Overlap &overlap : rank.overlaps)
        for (auto &[op, live] : walk(overlap, 0, 1))
          overlap.live.push_back(live);
      account(rank);
    }
  }

private:
  using Live = std::set<std::tuple<int64_t, ValueIndex, int64_t>>;
  struct Running {
    int64_t stage;
    Program *program;
    int64_t microbatch;
  };

  Program &programOf(int64_t stage, Phase phase) {
    for (Program &program : plan.stages[stage].programs)
      if (program.phase == phase)
        return program;
    std::abort();
  }

  ByteCounts count() const {
    ByteCounts counts = base;
    for (auto [stage, value, microbatch] : live) {
      const Value &v = plan.stages[stage].values[value];
      counts[v.memoryClass] += v.bytes;
    }
    return counts;
  }

  /// Makes counts relative to what is live before these programs.
  void start(const std::vector<Running> &all) {
    base = {};
    live.clear();
    for (const Running &running : all)
      for (ValueIndex input : running.program->inputs)
        live.insert({running.stage, input, running.microbatch});
    ByteCounts before = count();
    for (size_t c = 0; c < kMemoryClassCount; ++c)
      base.bytes[c] = -before.bytes[c];
  }

  /// Returns what lives while the op runs.
  ByteCounts issue(const Running &running, const Op &op) {
    for (ValueIndex output : op.outputs)
      if (output != -1) {
        live.insert({running.stage, output, running.microbatch});
        ValueIndex over = plan.stages[running.stage].values[output].overwrites;
        live.erase({running.stage, over, running.microbatch});
      }
    ByteCounts now = count();
    now[op.scratchClass] += op.scratchBytes;
    for (ValueIndex released : op.releases)
      live.erase({running.stage, released, running.microbatch});
    return now;
  }

  using Moments = std::vector<std::pair<const Op *, ByteCounts>>;

  Moments issueAll(const std::array<Running, 2> &members,
                   const std::vector<int64_t> &order) {
    std::array<size_t, 2> next{};
    Moments moments;
    for (int64_t m : order) {
      const Op &op = members[m].program->ops[next[m]++];
      moments.push_back({&op, issue(members[m], op)});
    }
    return moments;
  }

  std::array<Running, 2> membersOf(const Overlap &overlap, int64_t first,
                                   int64_t second) {
    const auto &[a, b] = overlap.members;
    return {Running{a.stage, &programOf(a.stage, a.phase), first},
            Running{b.stage, &programOf(b.stage, b.phase), second}};
  }

  Moments walk(const Overlap &overlap, int64_t first, int64_t second) {
    std::array<Running, 2> members = membersOf(overlap, first, second);
    start({members[0], members[1]});
    return issueAll(members, overlap.order);
  }

  void account(Rank &rank) {
    base = rank.persistent;
    live.clear();
    rank.peak = rank.persistent;
    rank.peakStep = -1;
    for (Step &step : rank.steps) {
      step.live = count();
      if (step.kind == StepKind::load || step.kind == StepKind::receive)
        live.insert({step.stage, step.value, step.microbatch});
      notePeak(rank, step, count(), "");
      if (step.kind == StepKind::wait_send ||
          step.kind == StepKind::collect_loss)
        live.erase({step.stage, step.value, step.microbatch});
      Moments moments;
      if (step.kind == StepKind::run) {
        Program &program = programOf(step.stage, step.phase);
        moments = issueAll({Running{step.stage, &program, step.microbatch}},
                           std::vector<int64_t>(program.ops.size(), 0));
      }
      if (step.kind == StepKind::overlap) {
        const Overlap &overlap = rank.overlaps[step.overlap];
        moments =
            issueAll(membersOf(overlap, step.microbatch, step.secondMicrobatch),
                     overlap.order);
      }
      for (const auto &[op, now] : moments) {
        notePeak(rank, step, now, op->name);
        rank.busyNs += op->timeNs;
      }
    }
  }

  void notePeak(Rank &rank, const Step &step, const ByteCounts &now,
                const std::string &op) {
    rank.hostPeakBytes = std::max(rank.hostPeakBytes, now[MemoryClass::host]);
    if (rank.peakStep != -1 && now.total() <= rank.peak.total())
      return;
    rank.peak = now;
    rank.peakStep = &step - rank.steps.data();
    rank.peakOp = op;
  }

  Plan &plan;
  ByteCounts base; ///< added to what lives
  Live live;
};

} // namespace

void claimNaively(Plan &plan) { Accountant(plan).run(); }

} // namespace moe::plan
