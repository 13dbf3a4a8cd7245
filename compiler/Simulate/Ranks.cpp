#include "compiler/Simulate/Ranks.h"

#include <algorithm>
#include <queue>
#include <tuple>

namespace moe::simulate {

using plan::StepKind;

namespace {

/// Something that will happen: a message arrives, or a rank has done its step.
struct Pending {
  int64_t ns = 0;
  enum Kind : uint8_t { arrival, rank } kind = rank;
  size_t index = 0;

  bool operator>(const Pending &other) const {
    return std::tie(ns, kind, index) >
           std::tie(other.ns, other.kind, other.index);
  }
};

class Simulation {
public:
  Simulation(const plan::Plan &plan, const Executions &executions,
             Exchange exchange)
      : plan(plan), executions(executions), ranks(plan.ranks.size()) {
    history.exchange = std::move(exchange);
    history.ranks.resize(ranks.size());
    for (size_t rank = 0; rank < ranks.size(); ++rank) {
      size_t count = plan.ranks[rank].steps.size();
      history.ranks[rank].steps.resize(count);
      history.ranks[rank].issuedNs.assign(count + 1, 0);
    }
  }

  Result<History> run() {
    for (size_t rank = 0; rank < ranks.size(); ++rank)
      pending.push({0, Pending::rank, rank});
    while (!pending.empty()) {
      int64_t ns = pending.top().ns;
      if (ns > kLongestNs)
        return Error{"the step takes longer than 2^53 ns"};
      // Ways are given out when all that happens at this moment has happened,
      // so that the order in which ranks are looked at does not matter.
      while (!pending.empty() && pending.top().ns == ns) {
        Pending next = pending.top();
        pending.pop();
        if (next.kind == Pending::arrival)
          arrive(next.index, ns);
        else
          advance(next.index, ns);
      }
      startMessages(ns);
    }
    MOE_RETURN_IF_ERROR(checkDone());
    return std::move(history);
  }

private:
  struct RankState {
    size_t next = 0;         ///< step
    size_t waitsFor = kNone; ///< message
    // The way out and the way in: the message that has it, and had it last.
    bool sends = false, receives = false;
    size_t lastSent = kNone, lastReceived = kNone;
  };

  Message &message(size_t index) { return history.exchange.messages[index]; }
  Pair &pairOf(const Message &of) { return history.exchange.pairs[of.pair]; }

  /// Issues steps from `ns` on, as far as they take no time.
  void advance(size_t rank, int64_t ns) {
    RankState &state = ranks[rank];
    const std::vector<plan::Step> &steps = plan.ranks[rank].steps;
    History::OfRank &of = history.ranks[rank];
    state.waitsFor = kNone;
    while (state.next < steps.size()) {
      size_t index = state.next;
      const plan::Step &step = steps[index];
      int64_t beginNs = ns, durationNs = 0;
      switch (step.kind) {
      case StepKind::load:
      case StepKind::collect_loss:
        break;
      case StepKind::receive:
      case StepKind::send:
        post(rank, index, ns);
        break;
      case StepKind::run:
      case StepKind::overlap:
        for (size_t needed : history.exchange.arrivalsOf(rank, index))
          if (!message(needed).hasArrived()) {
            state.waitsFor = needed;
            return;
          }
        durationNs = executions.of(rank, step).durationNs;
        break;
      case StepKind::wait_send: {
        size_t awaited = history.exchange.ranks[rank].messageOf[index];
        if (!message(awaited).hasArrived()) {
          state.waitsFor = awaited;
          return;
        }
        beginNs = of.issuedNs[index];
        break;
      }
      case StepKind::reduce_gradients:
        durationNs = plan.ranks[rank].reduceGradientsNs;
        break;
      case StepKind::update:
        durationNs = plan.ranks[rank].updateNs;
        break;
      }
      int64_t endNs = ns + durationNs;
      // Of transfers that have not begun, arrive() will say more.
      of.steps[index] = {beginNs, endNs};
      of.issuedNs[index + 1] = endNs;
      ++state.next;
      if (durationNs > 0) {
        pending.push({endNs, Pending::rank, rank});
        return;
      }
    }
  }

  void post(size_t rank, size_t step, int64_t ns) {
    size_t index = history.exchange.ranks[rank].messageOf[step];
    Message &posted = message(index);
    bool isSend = plan.ranks[rank].steps[step].kind == StepKind::send;
    (isSend ? posted.sendPostedNs : posted.receivePostedNs) = ns;
    consider(posted.pair);
  }

  /// Notes the pair's next message when it could begin, were its ways free.
  void consider(size_t index) {
    const Pair &pair = history.exchange.pairs[index];
    if (!pair.isBusy && pair.next < pair.messages.size() &&
        message(pair.messages[pair.next]).isPosted())
      candidates.push_back(index);
  }

  void startMessages(int64_t ns) {
    auto key = [&](size_t index) {
      const Pair &pair = history.exchange.pairs[index];
      // Pairs rise by sender, then receiver.
      return std::pair(message(pair.messages[pair.next]).postedNs(), index);
    };
    std::sort(candidates.begin(), candidates.end(),
              [&](size_t a, size_t b) { return key(a) < key(b); });
    for (size_t index : candidates)
      start(index, ns);
    candidates.clear();
  }

  void start(size_t index, int64_t ns) {
    Pair &pair = history.exchange.pairs[index];
    RankState &from = ranks[pair.from], &to = ranks[pair.to];
    if (pair.isBusy || (!pair.isLocal() && (from.sends || to.receives)))
      return;
    size_t number = pair.messages[pair.next];
    Message &next = message(number);
    next.time.beginNs = ns;
    if (ns > next.postedNs())
      next.blocker = whoEndedAt(ns, pair);
    pair.isBusy = true;
    if (!pair.isLocal()) {
      from.sends = to.receives = true;
      from.lastSent = to.lastReceived = number;
    }
    pending.push({ns + next.durationNs, Pending::arrival, number});
  }

  /// The message that kept the next one of the pair waiting until now.
  size_t whoEndedAt(int64_t ns, const Pair &pair) {
    auto endedNow = [&](size_t number) {
      return number != kNone && message(number).time.endNs == ns;
    };
    if (pair.isLocal())
      return pair.messages[pair.next - 1];
    size_t sent = ranks[pair.from].lastSent;
    return endedNow(sent) ? sent : ranks[pair.to].lastReceived;
  }

  void arrive(size_t number, int64_t ns) {
    Message &done = message(number);
    done.time.endNs = ns;
    Pair &pair = pairOf(done);
    history.ranks[pair.from].steps[done.sendStep] = done.time;
    history.ranks[pair.to].steps[done.receiveStep] = done.time;
    pair.isBusy = false;
    ++pair.next;
    if (pair.isLocal()) {
      consider(done.pair);
    } else {
      ranks[pair.from].sends = ranks[pair.to].receives = false;
      for (size_t other : history.exchange.ranks[pair.from].outgoing)
        consider(other);
      for (size_t other : history.exchange.ranks[pair.to].incoming)
        consider(other);
    }
    for (size_t rank : {pair.from, pair.to})
      if (ranks[rank].waitsFor == number)
        advance(rank, ns);
  }

  /// The rank that has to do something before `rank` can go on.
  size_t blockerOf(size_t rank) {
    const Pair &pair = pairOf(message(ranks[rank].waitsFor));
    const Message &head = message(pair.messages[pair.next]);
    return head.sendPostedNs == kNotYet ? pair.from : pair.to;
  }

  Status checkDone() {
    auto isDone = [&](size_t rank) {
      return ranks[rank].next == plan.ranks[rank].steps.size();
    };
    size_t rank = 0;
    while (rank < ranks.size() && isDone(rank))
      ++rank;
    if (rank == ranks.size())
      return {};
    // A rank that is done has posted all its messages, so who waits waits for
    // one that waits too: a circle.
    std::vector<size_t> chain;
    auto inChain = [&] { return std::find(chain.begin(), chain.end(), rank); };
    for (; inChain() == chain.end(); rank = blockerOf(rank))
      chain.push_back(rank);
    chain.erase(chain.begin(), inChain());
    std::string text = "deadlock: ";
    for (size_t i = 0; i < chain.size(); ++i) {
      size_t step = ranks[chain[i]].next;
      text += (i ? "; rank " : "rank ") + std::to_string(chain[i]) +
              " waits in step " + std::to_string(step) + " (" +
              describe(plan, plan.ranks[chain[i]].steps[step]) + ") for rank " +
              std::to_string(blockerOf(chain[i]));
    }
    return Error{text};
  }

  const plan::Plan &plan;
  const Executions &executions;
  std::vector<RankState> ranks;
  History history;
  std::vector<size_t> candidates; ///< pairs
  std::priority_queue<Pending, std::vector<Pending>, std::greater<>> pending;
};

} // namespace

Result<Executions> Executions::make(const plan::Plan &plan) {
  Executions made;
  made.programs.resize(plan.stages.size());
  for (size_t stage = 0; stage < plan.stages.size(); ++stage)
    for (const plan::Program &program : plan.stages[stage].programs) {
      Result<Execution> execution =
          execute(plan, static_cast<int64_t>(stage), program);
      if (!execution)
        return Error{std::string(plan::name(program.phase)) +
                     " program: " + execution.error().message};
      made.programs[stage][static_cast<size_t>(program.phase)] =
          std::move(*execution);
    }
  made.overlaps.resize(plan.ranks.size());
  for (size_t rank = 0; rank < plan.ranks.size(); ++rank)
    for (const plan::Overlap &overlap : plan.ranks[rank].overlaps) {
      Result<Execution> execution = execute(plan, overlap);
      if (!execution)
        return Error{"rank " + std::to_string(rank) + ", overlap " +
                     std::to_string(made.overlaps[rank].size()) + ": " +
                     execution.error().message};
      made.overlaps[rank].push_back(std::move(*execution));
    }
  return made;
}

Result<History> runRanks(const plan::Plan &plan, const Executions &executions,
                         Exchange exchange) {
  return Simulation(plan, executions, std::move(exchange)).run();
}

} // namespace moe::simulate
