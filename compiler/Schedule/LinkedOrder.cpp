#include "compiler/Schedule/LinkedOrder.h"

#include <algorithm>
#include <map>
#include <queue>
#include <utility>

namespace moe::schedule {

/// What makes the input of an action; the stage -1: nothing does.
static Action makerOf(const ScheduleProblem &problem, const Action &action) {
  Action maker = action;
  if (action.phase == Phase::weight_grad ||
      (action.phase == Phase::forward ? problem.isFirst(action.stage)
                                      : problem.isLast(action.stage)))
    maker.stage = -1;
  else
    maker.stage += action.phase == Phase::forward ? -1 : 1;
  return maker;
}

LinkedOrder::LinkedOrder(const Schedule &schedule, const Transfers &transfers)
    : ranks(schedule.ranks.size()) {
  const ScheduleProblem &problem = schedule.problem;
  // By stage and microbatch of what makes it, and whether it goes forward.
  auto keyOf = [&](const Action &maker) {
    return static_cast<size_t>(
        2 * (maker.stage * problem.microbatches + maker.microbatch) +
        (maker.phase == Phase::forward ? 1 : 0));
  };
  std::vector<int32_t> numbers(
      static_cast<size_t>(2 * problem.stages() * problem.microbatches), kNone);
  // By the places of what takes them.
  std::vector<std::vector<int32_t>> taken;
  std::map<std::pair<int64_t, int64_t>, int32_t> pairNumbers;
  for (size_t rank = 0; rank < ranks.size(); ++rank) {
    taken.emplace_back(schedule.ranks[rank].size(), kNone);
    for (size_t i = 0; i < schedule.ranks[rank].size(); ++i) {
      const Action maker = makerOf(problem, schedule.ranks[rank][i]);
      if (maker.stage < 0)
        continue;
      taken[rank][i] = static_cast<int32_t>(messages.size());
      numbers[keyOf(maker)] = taken[rank][i];
      messages.emplace_back();
      pairNumbers[{problem.rankOf(maker.stage), rank}] = 0;
    }
  }
  for (auto &[fromAndTo, number] : pairNumbers) {
    number = static_cast<int32_t>(pairs.size());
    pairs.push_back({static_cast<uint32_t>(fromAndTo.first),
                     static_cast<uint32_t>(fromAndTo.second)});
    ranks[pairs.back().from].outgoing.push_back(number);
    ranks[pairs.back().to].incoming.push_back(number);
  }
  for (size_t rank = 0; rank < ranks.size(); ++rank)
    for (size_t i = 0; i < taken[rank].size(); ++i)
      if (const int32_t number = taken[rank][i]; number != kNone) {
        const Action maker = makerOf(problem, schedule.ranks[rank][i]);
        messages[static_cast<size_t>(number)].pair =
            pairNumbers.at({problem.rankOf(maker.stage), rank});
      }

  std::vector<int32_t> lastOfPairs(pairs.size(), kNone);
  for (size_t rank = 0; rank < ranks.size(); ++rank) {
    OfRank &of = ranks[rank];
    const std::vector<Action> &actions = schedule.ranks[rank];
    // By how many actions have ended.
    std::vector<std::vector<int32_t>> postedBehind(actions.size() + 1);
    for (size_t i = 0; i < actions.size(); ++i)
      if (taken[rank][i] != kNone)
        postedBehind[transfers[rank][i].postedBehind].push_back(taken[rank][i]);
    auto post = [&](size_t ended) {
      of.posted.insert(of.posted.end(), postedBehind[ended].begin(),
                       postedBehind[ended].end());
    };
    auto send = [&](const Action &action) {
      const int32_t number =
          action.phase == Phase::weight_grad ? kNone : numbers[keyOf(action)];
      if (number == kNone)
        return kNone;
      const auto pair =
          static_cast<size_t>(messages[static_cast<size_t>(number)].pair);
      const int32_t last = std::exchange(lastOfPairs[pair], number);
      (last == kNone ? pairs[pair].first
                     : messages[static_cast<size_t>(last)].next) = number;
      return number;
    };
    post(0);
    of.postedAtOnce = static_cast<uint32_t>(of.posted.size());
    for (size_t i = 0; i < actions.size();) {
      Piece piece{actions[i]};
      piece.isPair = actions[i].overlapsNext;
      const size_t count = piece.isPair ? 2 : 1;
      if (piece.isPair)
        piece.second = actions[i + 1];
      for (size_t k = 0; k < count; ++k) {
        piece.needed[k] = taken[rank][i + k];
        if (const auto &awaited = transfers[rank][i + k].awaited)
          piece.needed[2 + k] = taken[awaited->rank][awaited->index];
        piece.sent[k] = send(actions[i + k]);
      }
      piece.postedBegin = static_cast<uint32_t>(of.posted.size());
      for (size_t k = 1; k <= count; ++k)
        post(i + k);
      of.pieces.push_back(piece);
      i += count;
    }
    Piece end;
    end.postedBegin = static_cast<uint32_t>(of.posted.size());
    of.pieces.push_back(end);
  }
}

/// With one set of costs.
class LinkedOrder::Run {
public:
  Run(const LinkedOrder &order, const Costs &costs)
      : order(order), costs(costs), ranks(order.ranks.size()),
        messages(order.messages.size()) {
    for (const Pair &pair : order.pairs)
      pairs.push_back({pair.first});
  }

  Result<std::vector<int64_t>> run() {
    for (size_t rank = 0; rank < ranks.size(); ++rank) {
      const OfRank &of = order.ranks[rank];
      postReceives(of, 0, of.postedAtOnce, 0);
      beginNext(rank, 0);
    }
    startMessages(0);
    while (!events.empty()) {
      const int64_t ns = events.top().ns;
      // Ways are given out when all that happens at this moment has happened.
      while (!events.empty() && events.top().ns == ns) {
        const Event event = events.top();
        events.pop();
        if (event.isArrival)
          arrive(event.number, ns);
        else
          finishPiece(static_cast<size_t>(event.number), ns);
      }
      startMessages(ns);
    }
    std::vector<int64_t> ends;
    for (size_t rank = 0; rank < ranks.size(); ++rank) {
      if (ranks[rank].next + 1 < order.ranks[rank].pieces.size())
        return Error{"schedule: deadlock: rank " + std::to_string(rank) +
                     " waits in action " + std::to_string(ranks[rank].next)};
      ends.push_back(ranks[rank].endNs);
    }
    return ends;
  }

private:
  static constexpr int64_t kNotYet = -1;

  struct Event {
    int64_t ns = 0;
    bool isArrival = false;
    int32_t number = 0; ///< of the message, or rank
    bool operator>(const Event &other) const { return ns > other.ns; }
  };
  struct RankState {
    size_t next = 0; ///< piece
    bool isWaiting = false;
    bool sends = false, receives = false;
    int64_t endNs = 0;
  };
  struct MessageState {
    int64_t sentNs = kNotYet, postedNs = kNotYet; ///< by both sides
    bool hasArrived = false;
    bool isReady() const { return sentNs != kNotYet && postedNs != kNotYet; }
    int64_t readyNs() const { return std::max(sentNs, postedNs); }
  };
  struct PairState {
    int32_t next = kNone; ///< the first message that has not arrived
    bool isBusy = false;
  };

  MessageState &at(int32_t message) {
    return messages[static_cast<size_t>(message)];
  }

  int64_t durationNs(const Piece &piece) const {
    return piece.isPair ? costs.pairNs(piece.first.stage, piece.second.stage,
                                       piece.second.phase == Phase::backward)
                        : costs.actionNs(piece.first);
  }

  void beginNext(size_t rank, int64_t ns) {
    RankState &state = ranks[rank];
    const OfRank &of = order.ranks[rank];
    state.isWaiting = false;
    if (state.next + 1 == of.pieces.size())
      return;
    const Piece &piece = of.pieces[state.next];
    for (int32_t needed : piece.needed)
      if (needed != kNone && !at(needed).hasArrived) {
        state.isWaiting = true;
        return;
      }
    events.push({ns + durationNs(piece), false, static_cast<int32_t>(rank)});
  }

  void finishPiece(size_t rank, int64_t ns) {
    RankState &state = ranks[rank];
    const OfRank &of = order.ranks[rank];
    const Piece &piece = of.pieces[state.next];
    state.endNs = ns;
    for (int32_t sent : piece.sent)
      if (sent != kNone) {
        at(sent).sentNs = ns;
        consider(order.messages[static_cast<size_t>(sent)].pair);
      }
    ++state.next;
    postReceives(of, piece.postedBegin, of.pieces[state.next].postedBegin, ns);
    beginNext(rank, ns);
  }

  void postReceives(const OfRank &of, uint32_t begin, uint32_t end,
                    int64_t ns) {
    for (uint32_t i = begin; i < end; ++i) {
      at(of.posted[i]).postedNs = ns;
      consider(order.messages[static_cast<size_t>(of.posted[i])].pair);
    }
  }

  /// Notes the pair's next message when it could begin, were its ways free.
  void consider(int32_t pair) {
    const PairState &state = pairs[static_cast<size_t>(pair)];
    if (!state.isBusy && state.next != kNone && at(state.next).isReady())
      candidates.emplace_back(at(state.next).readyNs(), pair);
  }

  void startMessages(int64_t ns) {
    std::sort(candidates.begin(), candidates.end());
    for (auto [ready, pair] : candidates)
      start(static_cast<size_t>(pair), ns);
    candidates.clear();
  }

  void start(size_t pair, int64_t ns) {
    PairState &state = pairs[pair];
    RankState &from = ranks[order.pairs[pair].from];
    RankState &to = ranks[order.pairs[pair].to];
    const bool isLocal = &from == &to;
    if (state.isBusy || (!isLocal && (from.sends || to.receives)))
      return;
    state.isBusy = true;
    if (!isLocal)
      from.sends = to.receives = true;
    events.push({ns + (isLocal ? costs.localTransferNs : costs.transferNs),
                 true, state.next});
  }

  void arrive(int32_t number, int64_t ns) {
    at(number).hasArrived = true;
    const Message &message = order.messages[static_cast<size_t>(number)];
    const Pair &pair = order.pairs[static_cast<size_t>(message.pair)];
    PairState &state = pairs[static_cast<size_t>(message.pair)];
    state = {message.next, false};
    RankState &from = ranks[pair.from], &to = ranks[pair.to];
    if (pair.from != pair.to)
      from.sends = to.receives = false;
    from.endNs = std::max(from.endNs, ns);
    for (int32_t other : order.ranks[pair.from].outgoing)
      consider(other);
    for (int32_t other : order.ranks[pair.to].incoming)
      consider(other);
    for (uint32_t rank : {pair.from, pair.to})
      if (ranks[rank].isWaiting)
        beginNext(rank, ns);
  }

  const LinkedOrder &order;
  const Costs &costs;
  std::vector<RankState> ranks;
  std::vector<MessageState> messages;
  std::vector<PairState> pairs;
  std::vector<std::pair<int64_t, int32_t>> candidates; ///< ready, pair
  std::priority_queue<Event, std::vector<Event>, std::greater<>> events;
};

Result<std::vector<int64_t>> LinkedOrder::endsNs(const Costs &costs) const {
  return Run(*this, costs).run();
}

} // namespace moe::schedule
