#include "compiler/Simulate/Messages.h"

#include "compiler/Simulate/Executions.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <set>
#include <tuple>

namespace moe::simulate {

using plan::StepKind;

namespace {

/// How many transfers one rank has had with another, while they are counted.
struct Ends {
  std::vector<size_t> sendSteps;
  std::vector<size_t> receiveSteps;
};

class Matcher {
public:
  explicit Matcher(const plan::Plan &plan) : plan(plan) {}

  Result<Exchange> run() {
    collectEnds();
    for (const auto &[ranks, of] : ends)
      MOE_RETURN_IF_ERROR(addPair(ranks.first, ranks.second, of));
    for (size_t rank = 0; rank < plan.ranks.size(); ++rank) {
      MOE_RETURN_IF_ERROR(matchWaits(rank));
      findArrivals(rank);
    }
    return std::move(exchange);
  }

private:
  std::string at(size_t rank, size_t step) const {
    return "rank " + std::to_string(rank) + ", step " + std::to_string(step) +
           " (" + describe(plan, plan.ranks[rank].steps[step]) + ")";
  }

  const plan::Value &valueOf(const plan::Step &step) const {
    return plan.stages[static_cast<size_t>(step.stage)]
        .values[static_cast<size_t>(step.value)];
  }

  void collectEnds() {
    exchange.ranks.resize(plan.ranks.size());
    for (size_t rank = 0; rank < plan.ranks.size(); ++rank) {
      const std::vector<plan::Step> &steps = plan.ranks[rank].steps;
      exchange.ranks[rank].messageOf.assign(steps.size(), kNone);
      for (size_t i = 0; i < steps.size(); ++i) {
        auto peer = static_cast<size_t>(steps[i].peer);
        if (steps[i].kind == StepKind::send)
          ends[{rank, peer}].sendSteps.push_back(i);
        else if (steps[i].kind == StepKind::receive)
          ends[{peer, rank}].receiveSteps.push_back(i);
      }
    }
  }

  Status addPair(size_t from, size_t to, const Ends &of) {
    Pair pair{from, to, {}};
    size_t index = exchange.pairs.size();
    size_t matched = std::min(of.sendSteps.size(), of.receiveSteps.size());
    for (size_t k = 0; k < matched; ++k) {
      Message message;
      message.pair = index;
      message.sendStep = of.sendSteps[k];
      message.receiveStep = of.receiveSteps[k];
      const plan::Step &send = plan.ranks[from].steps[message.sendStep];
      const plan::Step &receive = plan.ranks[to].steps[message.receiveStep];
      int64_t bytes = valueOf(send).bytes;
      if (send.microbatch != receive.microbatch ||
          bytes != valueOf(receive).bytes)
        return Error{at(to, message.receiveStep) +
                     " meets another message: " + at(from, message.sendStep)};
      Result<int64_t> ns = transferNs(bytes, pair.isLocal());
      if (!ns)
        return Error{at(from, message.sendStep) + ": " + ns.error().message};
      message.durationNs = *ns;
      pair.messages.push_back(exchange.messages.size());
      exchange.ranks[from].messageOf[message.sendStep] =
          exchange.ranks[to].messageOf[message.receiveStep] =
              exchange.messages.size();
      exchange.messages.push_back(message);
    }
    if (of.sendSteps.size() > matched)
      return Error{at(from, of.sendSteps[matched]) + ": rank " +
                   std::to_string(to) + " never receives it"};
    if (of.receiveSteps.size() > matched)
      return Error{at(to, of.receiveSteps[matched]) + ": rank " +
                   std::to_string(from) + " never sends it"};
    if (!pair.isLocal()) {
      exchange.ranks[from].outgoing.push_back(index);
      exchange.ranks[to].incoming.push_back(index);
    }
    exchange.pairs.push_back(std::move(pair));
    return {};
  }

  Result<int64_t> transferNs(int64_t bytes, bool isLocal) const {
    const plan::Machine &machine = plan.machine;
    double rate =
        isLocal ? machine.localBytesPerSecond : machine.linkBytesPerSecond;
    double ns = isLocal ? 0 : static_cast<double>(machine.linkLatencyNs);
    if (rate > 0)
      ns += std::ceil(static_cast<double>(bytes) * 1e9 / rate);
    if (bytes < 0 || !(ns >= 0 && ns <= static_cast<double>(kLongestNs)))
      return Error{"takes a time that is negative or too long; see the "
                   "machine's link rates and latency"};
    return static_cast<int64_t>(ns);
  }

  using Instance = std::tuple<int64_t, int64_t, int64_t>;
  static Instance instanceOf(const plan::Step &step) {
    return {step.stage, step.value, step.microbatch};
  }

  Status matchWaits(size_t rank) {
    const std::vector<plan::Step> &steps = plan.ranks[rank].steps;
    std::vector<size_t> &messageOf = exchange.ranks[rank].messageOf;
    std::map<std::pair<Instance, int64_t>, size_t> sent;
    for (size_t i = 0; i < steps.size(); ++i) {
      std::pair key{instanceOf(steps[i]), steps[i].peer};
      if (steps[i].kind == StepKind::send) {
        sent[key] = messageOf[i];
      } else if (steps[i].kind == StepKind::wait_send) {
        auto found = sent.find(key);
        if (found == sent.end())
          return Error{at(rank, i) + ": was not sent before"};
        messageOf[i] = found->second;
        sent.erase(found);
      }
    }
    return {};
  }

  /// Which messages each run and overlap is the first to need.
  void findArrivals(size_t rank) {
    const std::vector<plan::Step> &steps = plan.ranks[rank].steps;
    Exchange::OfRank &of = exchange.ranks[rank];
    std::set<std::pair<int64_t, int64_t>> received;
    for (const plan::Step &step : steps)
      if (step.kind == StepKind::receive)
        received.insert({step.stage, step.value});

    // Programs have many inputs, few of which are ever received.
    std::map<std::pair<int64_t, plan::Phase>, std::vector<int64_t>> known;
    auto receivedInputs =
        [&](int64_t stage, plan::Phase phase) -> const std::vector<int64_t> & {
      auto [found, isNew] = known.try_emplace({stage, phase});
      if (isNew)
        for (int64_t value : findProgram(plan, stage, phase)->inputs)
          if (received.contains({stage, value}))
            found->second.push_back(value);
      return found->second;
    };
    std::map<Instance, size_t> underWay;
    auto need = [&](int64_t stage, plan::Phase phase, int64_t microbatch) {
      for (int64_t value : receivedInputs(stage, phase))
        if (auto found = underWay.find({stage, value, microbatch});
            found != underWay.end()) {
          of.arrivals.push_back(found->second);
          underWay.erase(found);
        }
    };
    of.arrivalsBegin.reserve(steps.size() + 1);
    for (size_t i = 0; i < steps.size(); ++i) {
      const plan::Step &step = steps[i];
      of.arrivalsBegin.push_back(of.arrivals.size());
      if (step.kind == StepKind::receive) {
        underWay[instanceOf(step)] = of.messageOf[i];
      } else if (step.kind == StepKind::run) {
        need(step.stage, step.phase, step.microbatch);
      } else if (step.kind == StepKind::overlap) {
        const plan::Overlap &overlap =
            plan.ranks[rank].overlaps[static_cast<size_t>(step.overlap)];
        need(overlap.members[0].stage, overlap.members[0].phase,
             step.microbatch);
        need(overlap.members[1].stage, overlap.members[1].phase,
             step.secondMicrobatch);
      }
    }
    of.arrivalsBegin.push_back(of.arrivals.size());
  }

  const plan::Plan &plan;
  /// By sender, then receiver.
  std::map<std::pair<size_t, size_t>, Ends> ends;
  Exchange exchange;
};

} // namespace

std::string describe(const plan::Plan &plan, const plan::Step &step) {
  std::string text(plan::name(step.kind));
  if (step.stage < 0)
    return text;
  const plan::Stage &stage = plan.stages[static_cast<size_t>(step.stage)];
  if (plan::isExecution(step.kind))
    text += " " + std::string(plan::name(step.phase));
  text += " of stage " + stage.name + ", microbatch " +
          std::to_string(step.microbatch);
  if (plan::hasValue(step.kind))
    text += ", value " + stage.values[static_cast<size_t>(step.value)].name;
  return text;
}

Result<Exchange> matchMessages(const plan::Plan &plan) {
  return Matcher(plan).run();
}

} // namespace moe::simulate
