#include "test/unit/Simulate/NaiveSimulation.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <map>
#include <tuple>

namespace moe {

using plan::StepKind;
using simulate::Lane;

namespace {

constexpr int64_t kNever = -1;

struct NaiveOp {
  int64_t member, op;
  plan::Stream stream;
  int64_t ns;
  std::vector<size_t> after;
  int64_t beginNs = kNever, endNs = kNever;
  double restNs = 0; ///< of a copy under way, whose end is not known yet

  bool isCopy() const {
    return stream == plan::Stream::copy_out || stream == plan::Stream::copy_in;
  }
  bool isCopying() const {
    return isCopy() && beginNs != kNever && endNs == kNever;
  }
};

struct NaiveMessage {
  size_t from, to;
  size_t sendStep, receiveStep;
  int64_t ns;
  int64_t sentNs = kNever, receivedNs = kNever;
  int64_t beginNs = kNever, endNs = kNever;
};

struct NaiveRank {
  size_t next = 0;
  int64_t reachedNs = kNever; ///< when `next` was reached
  int64_t untilNs = kNever;   ///< of reduce_gradients and update under way
  std::vector<NaiveOp> ops;   ///< of the run or overlap under way
  int64_t beganNs = kNever;
};

class Naive {
public:
  explicit Naive(const plan::Plan &plan)
      : plan(plan), ranks(plan.ranks.size()) {
    result.ranks.resize(ranks.size());
    for (size_t r = 0; r < ranks.size(); ++r) {
      ranks[r].reachedNs = 0;
      result.ranks[r].steps.resize(plan.ranks[r].steps.size());
    }
    findMessages();
  }

  NaiveTimeline run() {
    while (true) {
      bool moved = true;
      while (moved) {
        moved = false;
        for (size_t r = 0; r < ranks.size(); ++r)
          while (advance(r))
            moved = true;
        moved |= moveMessages();
      }
      int64_t later = nextMoment();
      if (later == kNever)
        break;
      copyUntil(later);
      now = later;
    }
    for (const NaiveMessage &message : messages) {
      simulate::Interval time{message.beginNs, message.endNs};
      result.ranks[message.from].steps[message.sendStep] = time;
      result.ranks[message.to].steps[message.receiveStep] = time;
      if (time.ns() > 0)
        result.ranks[message.to].events.push_back(
            {message.from == message.to ? Lane::local_copy
                                        : Lane::pipeline_communication,
             time, static_cast<int64_t>(message.receiveStep), 0, -1});
    }
    return std::move(result);
  }

private:
  void findMessages() {
    for (size_t from = 0; from < ranks.size(); ++from)
      for (size_t to = 0; to < ranks.size(); ++to) {
        std::vector<size_t> sends, receives;
        for (size_t i = 0; i < plan.ranks[from].steps.size(); ++i)
          if (plan.ranks[from].steps[i].kind == StepKind::send &&
              plan.ranks[from].steps[i].peer == static_cast<int64_t>(to))
            sends.push_back(i);
        for (size_t i = 0; i < plan.ranks[to].steps.size(); ++i)
          if (plan.ranks[to].steps[i].kind == StepKind::receive &&
              plan.ranks[to].steps[i].peer == static_cast<int64_t>(from))
            receives.push_back(i);
        for (size_t k = 0; k < sends.size(); ++k) {
          const plan::Step &send = plan.ranks[from].steps[sends[k]];
          double bytes =
              static_cast<double>(plan.stages[static_cast<size_t>(send.stage)]
                                      .values[static_cast<size_t>(send.value)]
                                      .bytes);
          double rate = from == to ? plan.machine.localBytesPerSecond
                                   : plan.machine.linkBytesPerSecond;
          int64_t ns = from == to ? 0 : plan.machine.linkLatencyNs;
          if (rate > 0)
            ns += static_cast<int64_t>(std::ceil(bytes * 1e9 / rate));
          messages.push_back({from, to, sends[k], receives[k], ns});
        }
      }
  }

  /// Whether the input of a program is there, if it is received at all.
  bool isThere(size_t r, int64_t stage, plan::Phase phase, int64_t microbatch) {
    for (const plan::Program &program :
         plan.stages[static_cast<size_t>(stage)].programs) {
      if (program.phase != phase)
        continue;
      for (int64_t value : program.inputs)
        for (const NaiveMessage &message : messages) {
          const plan::Step &receive =
              plan.ranks[message.to].steps[message.receiveStep];
          if (message.to == r && receive.stage == stage &&
              receive.value == value && receive.microbatch == microbatch &&
              (message.endNs == kNever || message.endNs > now))
            return false;
        }
    }
    return true;
  }

  void beginProgram(size_t r, int64_t stage, plan::Phase phase) {
    for (const plan::Program &program :
         plan.stages[static_cast<size_t>(stage)].programs)
      if (program.phase == phase)
        for (size_t i = 0; i < program.ops.size(); ++i) {
          const plan::Op &op = program.ops[i];
          NaiveOp naive{0, static_cast<int64_t>(i), op.stream, op.timeNs, {}};
          for (int64_t wait : op.waits)
            naive.after.push_back(static_cast<size_t>(wait));
          ranks[r].ops.push_back(naive);
        }
  }

  void beginOverlap(size_t r, const plan::Overlap &overlap) {
    std::array<std::vector<NaiveOp>, 2> members;
    for (size_t m = 0; m < 2; ++m) {
      beginProgram(r, overlap.members[m].stage, overlap.members[m].phase);
      members[m].swap(ranks[r].ops);
    }
    std::array<std::vector<size_t>, 2> places;
    for (int64_t member : overlap.order) {
      auto m = static_cast<size_t>(member);
      NaiveOp op = members[m][places[m].size()];
      op.member = member;
      for (size_t &after : op.after)
        after = places[m][after];
      places[m].push_back(ranks[r].ops.size());
      ranks[r].ops.push_back(op);
    }
    for (const plan::Overlap::Wait &wait : overlap.waits)
      ranks[r].ops[static_cast<size_t>(wait.op)].after.push_back(
          static_cast<size_t>(wait.on));
  }

  /// Begins and ends ops; whether all have ended.
  bool runOps(size_t r, bool &moved) {
    bool allEnded = true;
    auto &ops = ranks[r].ops;
    for (size_t i = 0; i < ops.size(); ++i) {
      NaiveOp &op = ops[i];
      auto hasEnded = [&](size_t other) {
        return ops[other].endNs != kNever && ops[other].endNs <= now;
      };
      if (op.beginNs == kNever) {
        bool canBegin = std::all_of(op.after.begin(), op.after.end(), hasEnded);
        for (size_t other = 0; other < i; ++other)
          if (ops[other].stream == op.stream)
            canBegin &= hasEnded(other);
        if (canBegin) {
          op.beginNs = now;
          op.restNs = static_cast<double>(op.ns);
          if (!op.isCopy() || op.ns == 0)
            op.endNs = now + op.ns;
          moved = true;
        }
      }
      allEnded &= hasEnded(i);
    }
    return allEnded;
  }

  static Lane laneOf(plan::Stream stream) {
    switch (stream) {
    case plan::Stream::compute:
      return Lane::compute;
    case plan::Stream::expert_communication:
      return Lane::expert_communication;
    case plan::Stream::copy_out:
      return Lane::copy_out;
    case plan::Stream::copy_in:
      return Lane::copy_in;
    }
    std::abort();
  }

  /// One nanosecond of copies, whose rates depend on each other.
  void copyUntil(int64_t ns) {
    const plan::Machine &machine = plan.machine;
    for (NaiveRank &rank : ranks) {
      bool hasOut = false, hasIn = false;
      for (const NaiveOp &op : rank.ops)
        if (op.isCopying())
          (op.stream == plan::Stream::copy_out ? hasOut : hasIn) = true;
      for (NaiveOp &op : rank.ops) {
        if (!op.isCopying())
          continue;
        double alone = op.stream == plan::Stream::copy_out
                           ? machine.toHostBytesPerSecond
                           : machine.toDeviceBytesPerSecond;
        double rate = alone;
        if (hasOut && hasIn && machine.hostCombinedBytesPerSecond > 0)
          rate = std::min(rate, machine.hostCombinedBytesPerSecond / 2);
        op.restNs -= alone > 0 ? rate / alone : 1;
        if (op.restNs <= 0)
          op.endNs = ns;
      }
    }
  }

  bool finishStep(size_t r, int64_t beganNs) {
    NaiveRank &rank = ranks[r];
    result.ranks[r].steps[rank.next] = {beganNs, now};
    ++rank.next;
    rank.reachedNs = result.ranks[r].endNs = now;
    rank.beganNs = rank.untilNs = kNever;
    rank.ops.clear();
    return true;
  }

  /// Whether anything changed.
  bool advance(size_t r) {
    NaiveRank &rank = ranks[r];
    if (rank.next == plan.ranks[r].steps.size())
      return false;
    const plan::Step &step = plan.ranks[r].steps[rank.next];
    auto number = static_cast<int64_t>(rank.next);
    auto messageOf = [&]() -> NaiveMessage & {
      return *std::find_if(messages.begin(), messages.end(), [&](auto &m) {
        return step.kind == StepKind::receive
                   ? m.to == r && m.receiveStep == rank.next
                   : m.from == r && m.sendStep == rank.next;
      });
    };
    switch (step.kind) {
    case StepKind::load:
    case StepKind::collect_loss:
      return finishStep(r, now);
    case StepKind::send:
      messageOf().sentNs = now;
      return finishStep(r, now);
    case StepKind::receive:
      messageOf().receivedNs = now;
      return finishStep(r, now);
    case StepKind::wait_send:
      for (const NaiveMessage &m : messages) {
        const plan::Step &send = plan.ranks[m.from].steps[m.sendStep];
        if (m.from == r && send.stage == step.stage &&
            send.value == step.value && send.microbatch == step.microbatch)
          return m.endNs != kNever && m.endNs <= now &&
                 finishStep(r, rank.reachedNs);
      }
      return false;
    case StepKind::reduce_gradients:
    case StepKind::update: {
      bool isUpdate = step.kind == StepKind::update;
      int64_t ns =
          isUpdate ? plan.ranks[r].updateNs : plan.ranks[r].reduceGradientsNs;
      if (rank.untilNs == kNever) {
        rank.untilNs = now + ns;
        return true;
      }
      if (rank.untilNs > now)
        return false;
      if (ns > 0)
        result.ranks[r].events.push_back(
            {isUpdate ? Lane::compute : Lane::expert_communication,
             {now - ns, now},
             number,
             0,
             -1});
      return finishStep(r, now - ns);
    }
    case StepKind::run:
    case StepKind::overlap:
      break;
    }
    if (rank.beganNs == kNever) {
      if (step.kind == StepKind::run) {
        if (!isThere(r, step.stage, step.phase, step.microbatch))
          return false;
        beginProgram(r, step.stage, step.phase);
      } else {
        const plan::Overlap &overlap =
            plan.ranks[r].overlaps[static_cast<size_t>(step.overlap)];
        const auto &members = overlap.members;
        if (!isThere(r, members[0].stage, members[0].phase, step.microbatch) ||
            !isThere(r, members[1].stage, members[1].phase,
                     step.secondMicrobatch))
          return false;
        beginOverlap(r, overlap);
      }
      rank.beganNs = now;
      return true;
    }
    bool moved = false;
    if (!runOps(r, moved))
      return moved;
    for (const NaiveOp &op : rank.ops)
      if (op.ns > 0)
        result.ranks[r].events.push_back({laneOf(op.stream),
                                          {op.beginNs, op.endNs},
                                          number,
                                          op.member,
                                          op.op});
    return finishStep(r, rank.beganNs);
  }

  bool moveMessages() {
    std::vector<NaiveMessage *> first;
    std::map<std::pair<size_t, size_t>, bool> isOpen;
    for (NaiveMessage &m : messages) {
      bool hasEnded = m.endNs != kNever && m.endNs <= now;
      if (hasEnded || isOpen[{m.from, m.to}])
        continue;
      isOpen[{m.from, m.to}] = true;
      if (m.beginNs == kNever && m.sentNs != kNever && m.receivedNs != kNever)
        first.push_back(&m);
    }
    std::sort(first.begin(), first.end(), [](auto *a, auto *b) {
      return std::tuple(std::max(a->sentNs, a->receivedNs), a->from, a->to) <
             std::tuple(std::max(b->sentNs, b->receivedNs), b->from, b->to);
    });
    bool moved = false;
    for (NaiveMessage *m : first) {
      bool isFree = true;
      for (const NaiveMessage &other : messages)
        if (m->from != m->to && other.from != other.to && isUnderWay(other) &&
            (other.from == m->from || other.to == m->to))
          isFree = false;
      if (!isFree)
        continue;
      m->beginNs = now;
      m->endNs = now + m->ns;
      justBegun.push_back(m);
      moved = true;
    }
    justBegun.clear();
    return moved;
  }

  /// What takes no time still has its way until ranks have been looked at.
  bool isUnderWay(const NaiveMessage &m) {
    return m.endNs > now ||
           std::find(justBegun.begin(), justBegun.end(), &m) != justBegun.end();
  }

  int64_t nextMoment() const {
    int64_t earliest = kNever;
    auto consider = [&](int64_t ns) {
      if (ns > now && (earliest == kNever || ns < earliest))
        earliest = ns;
    };
    for (const NaiveRank &rank : ranks) {
      consider(rank.untilNs);
      for (const NaiveOp &op : rank.ops)
        consider(op.isCopying() ? now + 1 : op.endNs);
    }
    for (const NaiveMessage &m : messages)
      consider(m.endNs);
    return earliest;
  }

  const plan::Plan &plan;
  std::vector<NaiveRank> ranks;
  std::vector<NaiveMessage> messages; ///< by sender, receiver, number
  std::vector<const NaiveMessage *> justBegun;
  NaiveTimeline result;
  int64_t now = 0;
};

} // namespace

NaiveTimeline simulateNaively(const plan::Plan &plan) {
  return Naive(plan).run();
}

} // namespace moe
