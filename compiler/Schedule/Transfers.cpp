// From the order of actions to the full list of steps.
//
// The ranks are executed side by side, as they would run with the buffers that
// the plan has, and every rank's steps are written as it goes: that shows which
// receives have to be posted earlier than one would like, because messages from
// one rank to another arrive in the order of their sends, or because a rank
// could not go on otherwise.
#include "compiler/Schedule/Schedule.h"

#include <algorithm>
#include <optional>
#include <tuple>
#include <utility>

namespace moe::schedule {

using plan::StepKind;

namespace {

/// What one stage sends to a neighbour for one microbatch: the output of its
/// forward or the gradient of its input.
struct Message {
  bool forward = true;
  int64_t stage = 0; ///< that receives it
  int64_t microbatch = 0;
};

/// All messages from one rank to another in the order of their sends.
struct Channel {
  std::vector<Message> messages;
  size_t sent = 0, posted = 0; ///< how many of them
};

class TransferWriter {
public:
  TransferWriter(const Schedule &schedule, ReceiveAhead ahead)
      : schedule(schedule), problem(schedule.problem), ahead(ahead) {
    result.problem = problem;
    result.ranks.resize(schedule.ranks.size());
    states.resize(schedule.ranks.size());
    channels.resize(schedule.ranks.size() * schedule.ranks.size());
    auto instances =
        static_cast<size_t>(problem.stages() * problem.microbatches);
    ordinals.resize(2 * instances);
    holds.assign(instances, false);
    lastAction.assign(instances, 0);
    unused.assign(static_cast<size_t>(2 * problem.stages()), 0);
    pending.resize(static_cast<size_t>(2 * problem.stages()));
    held.assign(static_cast<size_t>(problem.stages()), 0);
    mostHeld.assign(static_cast<size_t>(problem.stages()), 0);
    madeAt.resize(ordinals.size());
    neededAt.resize(ordinals.size());
    departures.resize(schedule.ranks.size());
    for (size_t rank = 0; rank < schedule.ranks.size(); ++rank)
      survey(rank);
    for (Channel &channel : channels)
      settleOrder(channel);
    for (auto &list : departures)
      std::sort(
          list.begin(), list.end(), [](const Departure &a, const Departure &b) {
            return std::tie(a.after, a.number) < std::tie(b.after, b.number);
          });
  }

  StepSchedule run() {
    bool done = false;
    while (!done) {
      bool progressed = false;
      done = true;
      for (size_t rank = 0; rank < states.size(); ++rank) {
        while (!states[rank].done && advance(rank))
          progressed = true;
        done = done && states[rank].done;
      }
      // Without buffers to go on the steps are written all the same: verify()
      // says who waits for whom.
      if (!done && !progressed && !postForAStuckRank())
        blocking = false;
    }
    return std::move(result);
  }

private:
  struct RankState {
    size_t next = 0;     ///< action
    size_t departed = 0; ///< of the rank's departures
    bool opened = false, done = false;
    std::vector<size_t> order; ///< send buffers by the time of their last send
    int64_t waitsForPost = -1; ///< buffer whose wait_send holds the rank up
  };

  /// What leaves when the rank has done an action, given by its index.
  struct Departure {
    size_t after = 0, number = 0;
    Message message;
  };

  /// An action alone or an overlapping pair.
  struct Group {
    const Action *begin, *last;
    const Action *end() const { return last + 1; }
  };

  Group groupAt(size_t rank, size_t index) const {
    const auto &actions = schedule.ranks[rank];
    size_t last = index;
    if (actions[index].overlapsNext && index + 1 < actions.size())
      ++last;
    return {&actions[index], &actions[last]};
  }

  size_t instance(int64_t stage, int64_t microbatch) const {
    return static_cast<size_t>(stage * problem.microbatches + microbatch);
  }
  static size_t bufferOf(int64_t stage, bool forward) {
    return static_cast<size_t>(2 * stage + (forward ? 0 : 1));
  }
  Channel &channel(int64_t from, int64_t to) {
    return channels[static_cast<size_t>(from) * states.size() +
                    static_cast<size_t>(to)];
  }

  /// The message that an action makes or needs.
  std::optional<Message> outputOf(const Action &action) const {
    bool forward = action.phase == Phase::forward;
    if (action.phase == Phase::weight_grad ||
        (forward ? problem.isLast(action.stage)
                 : !problem.sendsGradient(action.stage)))
      return std::nullopt;
    return Message{forward, action.stage + (forward ? 1 : -1),
                   action.microbatch};
  }
  std::optional<Message> inputOf(const Action &action) const {
    bool forward = action.phase == Phase::forward;
    if (action.phase == Phase::weight_grad ||
        (forward ? problem.isFirst(action.stage)
                 : problem.isLast(action.stage)))
      return std::nullopt;
    return Message{forward, action.stage, action.microbatch};
  }
  int64_t senderOf(const Message &message) const {
    return problem.rankOf(message.stage + (message.forward ? -1 : 1));
  }
  Channel &channelOf(const Message &message) {
    return channel(senderOf(message), problem.rankOf(message.stage));
  }
  size_t indexOf(const Message &message) const {
    return 2 * instance(message.stage, message.microbatch) +
           (message.forward ? 0 : 1);
  }
  size_t &ordinalOf(const Message &message) {
    return ordinals[indexOf(message)];
  }

  /// Lists the messages that the rank makes, where it needs others, and how
  /// many microbatches each of its stages holds at once.
  void survey(size_t rank) {
    const auto &actions = schedule.ranks[rank];
    for (size_t i = 0; i < actions.size(); ++i)
      lastAction[instance(actions[i].stage, actions[i].microbatch)] = i;
    // Most actions take a receive, a send and its wait, or labels and the loss;
    // a few steps end the rank.
    result.ranks[rank].reserve(4 * actions.size() + 8);
    departures[rank].reserve(actions.size());
    std::vector<int64_t> holding(held.size(), 0);
    for (size_t i = 0; i < actions.size(); ++i) {
      const Action &action = actions[i];
      if (std::optional<Message> message = outputOf(action)) {
        channelOf(*message).messages.push_back(*message);
        madeAt[indexOf(*message)] = i;
      }
      if (std::optional<Message> message = inputOf(action))
        neededAt[indexOf(*message)] = i;
      auto stage = static_cast<size_t>(action.stage);
      if (action.phase == Phase::forward)
        mostHeld[stage] = std::max(mostHeld[stage], ++holding[stage]);
      if (lastAction[instance(action.stage, action.microbatch)] == i)
        --holding[stage];
    }
  }

  /// Messages leave when they are made, but for a gradient that the receiver
  /// could not take: before it has used the gradient before, in the same
  /// buffer, it needs others that are made later. Those go first.
  void settleOrder(Channel &channel) {
    std::vector<Message> &messages = channel.messages;
    size_t count = messages.size();
    // By message: the first place where it or a later one is needed, and the
    // next message of its stage, for which the send buffer has to be empty.
    std::vector<size_t> firstNeed(count), following(count, count);
    std::vector<size_t> last(unused.size(), count);
    for (size_t i = count; i > 0; --i) {
      size_t need = neededAt[indexOf(messages[i - 1])];
      firstNeed[i - 1] = i < count ? std::min(need, firstNeed[i]) : need;
      size_t buffer = bufferOf(messages[i - 1].stage, messages[i - 1].forward);
      following[i - 1] = std::exchange(last[buffer], i - 1);
    }
    std::vector<std::pair<size_t, size_t>> order; // made with, made as
    std::vector<size_t> newest(unused.size(), 0); // by buffer: place and 1
    for (size_t i = 0; i < count; ++i) {
      size_t with = i;
      if (!messages[i].forward) {
        size_t &usedAt = newest[bufferOf(messages[i].stage, false)];
        auto later = std::lower_bound(firstNeed.begin(), firstNeed.end(),
                                      usedAt > 0 ? usedAt - 1 : 0);
        auto before =
            std::max<size_t>(1, static_cast<size_t>(later - firstNeed.begin()));
        with = std::max(with, std::min(before, following[i]) - 1);
        usedAt = neededAt[indexOf(messages[i])] + 1;
      }
      // Whatever is made with another goes behind it.
      order.emplace_back(with, with == i ? 0 : i + 1);
    }
    std::vector<size_t> places(count);
    for (size_t i = 0; i < count; ++i)
      places[i] = i;
    std::sort(places.begin(), places.end(), [&](size_t a, size_t b) {
      return std::tie(order[a].first, order[a].second) <
             std::tie(order[b].first, order[b].second);
    });
    std::vector<Message> settled;
    settled.reserve(count);
    for (size_t place : places) {
      const Message &message = messages[place];
      const Message &trigger = messages[order[place].first];
      ordinalOf(message) = settled.size();
      settled.push_back(message);
      auto &list = departures[static_cast<size_t>(senderOf(message))];
      list.push_back({madeAt[indexOf(trigger)], list.size(), message});
    }
    messages = std::move(settled);
  }

  void push(size_t rank, StepKind kind, const Action &of, int64_t peer = -1,
            std::string role = {}) {
    bool transfer = plan::hasPeer(kind);
    Phase phase =
        transfer && of.phase != Phase::forward ? Phase::backward : of.phase;
    result.ranks[rank].push_back(
        {kind, phase, of.stage, of.microbatch, peer, std::move(role), {}});
  }

  void hold(int64_t stage, int64_t microbatch) {
    if (holds[instance(stage, microbatch)])
      return;
    holds[instance(stage, microbatch)] = true;
    ++held[static_cast<size_t>(stage)];
  }

  /// Whether the buffer that a message arrives in can be allocated: gradients
  /// share one for all microbatches of a stage, inputs have one each.
  bool isFree(const Message &message) const {
    return message.forward || unused[bufferOf(message.stage, false)] == 0;
  }

  void post(const Message &message) {
    ++channelOf(message).posted;
    ++unused[bufferOf(message.stage, message.forward)];
    hold(message.stage, message.microbatch);
    push(static_cast<size_t>(problem.rankOf(message.stage)), StepKind::receive,
         {message.forward ? Phase::forward : Phase::backward, message.stage,
          message.microbatch},
         senderOf(message));
  }

  /// Posts everything that the channel carries up to the message.
  void postUpTo(const Message &message) {
    Channel &from = channelOf(message);
    while (from.posted <= ordinalOf(message))
      post(Message(from.messages[from.posted]));
  }

  void postAhead(const Message &message) {
    if (channelOf(message).posted != ordinalOf(message) ||
        unused[bufferOf(message.stage, message.forward)] > 0)
      return;
    auto stage = static_cast<size_t>(message.stage);
    if (ahead == ReceiveAhead::always || !message.forward ||
        held[stage] < mostHeld[stage])
      post(message);
  }

  /// Receives and loads of the rank's next group.
  void open(size_t rank) {
    Group group = groupAt(rank, states[rank].next);
    for (const Action &action : std::vector<Action>(group.begin, group.end())) {
      if (std::optional<Message> message = inputOf(action))
        postUpTo(*message);
      if (action.phase != Phase::forward)
        continue;
      hold(action.stage, action.microbatch);
      if (problem.isFirst(action.stage))
        push(rank, StepKind::load, action, -1, "tokens");
      if (problem.isLast(action.stage))
        for (const std::string &role : problem.labelRoles)
          push(rank, StepKind::load, action, -1, role);
    }
    size_t following =
        states[rank].next + static_cast<size_t>(group.end() - group.begin);
    if (ahead == ReceiveAhead::never ||
        following == schedule.ranks[rank].size())
      return;
    Group next = groupAt(rank, following);
    for (const Action *action = next.begin; action != next.end(); ++action)
      if (std::optional<Message> message = inputOf(*action))
        postAhead(*message);
  }

  /// Empties a send buffer; false when the peer has not posted the receive.
  bool waitForBuffer(size_t rank, size_t buffer) {
    std::optional<Message> &message = pending[buffer];
    if (!message)
      return true;
    if (blocking && channelOf(*message).posted <= ordinalOf(*message)) {
      states[rank].waitsForPost = static_cast<int64_t>(buffer);
      return false;
    }
    int64_t stage = static_cast<int64_t>(buffer / 2);
    push(rank, StepKind::wait_send,
         {message->forward ? Phase::forward : Phase::backward, stage,
          message->microbatch},
         problem.rankOf(message->stage));
    message.reset();
    return true;
  }

  /// Executes the rank's next group, or its end; false when it has to wait.
  bool advance(size_t rank) {
    RankState &state = states[rank];
    state.waitsForPost = -1;
    if (state.next == schedule.ranks[rank].size())
      return finish(rank);
    if (!state.opened)
      open(rank);
    state.opened = true;
    Group group = groupAt(rank, state.next);
    for (const Action *action = group.begin; action != group.end(); ++action)
      if (outputOf(*action) &&
          !waitForBuffer(
              rank, bufferOf(action->stage, action->phase == Phase::forward)))
        return false;
    for (const Action *action = group.begin; action != group.end(); ++action)
      if (std::optional<Message> message = inputOf(*action);
          blocking && message &&
          channelOf(*message).sent <= ordinalOf(*message))
        return false;
    execute(rank, group);
    state.next += static_cast<size_t>(group.end() - group.begin);
    state.opened = false;
    return true;
  }

  void execute(size_t rank, const Group &group) {
    push(rank, group.begin == group.last ? StepKind::run : StepKind::overlap,
         *group.begin);
    if (group.begin != group.last)
      result.ranks[rank].back().second = *group.last;
    for (const Action *action = group.begin; action != group.end(); ++action) {
      bool forward = action->phase == Phase::forward;
      if (inputOf(*action))
        --unused[bufferOf(action->stage, forward)];
      auto index = static_cast<size_t>(action - schedule.ranks[rank].data());
      if (lastAction[instance(action->stage, action->microbatch)] == index)
        --held[static_cast<size_t>(action->stage)];
      if (forward && problem.isLast(action->stage))
        push(rank, StepKind::collect_loss, *action);
      if (std::optional<Message> message = outputOf(*action))
        pending[bufferOf(action->stage, forward)] = message;
      const auto &list = departures[rank];
      for (size_t &next = states[rank].departed;
           next < list.size() && list[next].after == index; ++next)
        send(rank, list[next].message);
    }
  }

  void send(size_t rank, const Message &message) {
    int64_t stage = message.stage + (message.forward ? -1 : 1);
    push(rank, StepKind::send,
         {message.forward ? Phase::forward : Phase::backward, stage,
          message.microbatch},
         problem.rankOf(message.stage));
    ++channelOf(message).sent;
    size_t buffer = bufferOf(stage, message.forward);
    std::erase(states[rank].order, buffer);
    states[rank].order.push_back(buffer);
    if (ahead != ReceiveAhead::never)
      takeFromItself(message);
  }

  /// A gradient that a rank hands over to itself moves on at once where its
  /// buffer is free: two are then on the way before the first is used, one in
  /// either buffer.
  void takeFromItself(const Message &message) {
    if (!message.forward &&
        senderOf(message) == problem.rankOf(message.stage) &&
        channelOf(message).posted == ordinalOf(message) && isFree(message))
      post(message);
  }

  bool finish(size_t rank) {
    // Oldest first: the order in which the peers take the messages.
    for (size_t buffer : states[rank].order)
      if (!waitForBuffer(rank, buffer))
        return false;
    if (problem.trains()) {
      push(rank, StepKind::reduce_gradients, {Phase::forward, -1, -1});
      push(rank, StepKind::update, {Phase::forward, -1, -1});
    }
    states[rank].done = true;
    return true;
  }

  /// Posts the receives that the first rank held up by a wait_send waits for.
  bool postForAStuckRank() {
    for (const RankState &state : states) {
      if (state.waitsForPost < 0)
        continue;
      Message wanted = *pending[static_cast<size_t>(state.waitsForPost)];
      const Channel &to = channelOf(wanted);
      std::vector<Message> posts(
          to.messages.begin() + static_cast<std::ptrdiff_t>(to.posted),
          to.messages.begin() +
              static_cast<std::ptrdiff_t>(ordinalOf(wanted) + 1));
      bool possible = true;
      for (size_t i = 0; i < posts.size(); ++i) {
        possible = possible && isFree(posts[i]);
        for (size_t j = 0; j < i; ++j)
          possible = possible && (posts[i].forward || posts[j].forward ||
                                  posts[i].stage != posts[j].stage);
      }
      if (!possible)
        continue;
      postUpTo(wanted);
      return true;
    }
    return false;
  }

  const Schedule &schedule;
  const ScheduleProblem &problem;
  ReceiveAhead ahead;
  StepSchedule result;
  std::vector<RankState> states;
  std::vector<Channel> channels; ///< by sender, then receiver
  // By message, which is an instance of the receiving stage and a direction.
  std::vector<size_t> ordinals;         ///< in its channel
  std::vector<size_t> madeAt, neededAt; ///< indices of actions on their ranks
  std::vector<std::vector<Departure>> departures; ///< by rank
  std::vector<bool> holds;        ///< whether the instance has had its slot
  std::vector<size_t> lastAction; ///< of the instance, index on its rank
  std::vector<int64_t> unused;    ///< posted and not used, by stage, direction
  std::vector<int64_t> held;      ///< slots in use, by stage
  std::vector<int64_t> mostHeld;  ///< in the schedule without receives
  /// By stage and direction: what the send buffer holds.
  std::vector<std::optional<Message>> pending;
  bool blocking = true;
};

} // namespace

StepSchedule insertTransfers(const Schedule &schedule, ReceiveAhead ahead) {
  return TransferWriter(schedule, ahead).run();
}

} // namespace moe::schedule
