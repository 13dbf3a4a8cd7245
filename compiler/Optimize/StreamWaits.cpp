#include "compiler/Optimize/StreamWaits.h"

#include <algorithm>
#include <map>

namespace moe::optimize {
namespace {

constexpr StreamPositions nowhere() {
  StreamPositions none{};
  for (int64_t &position : none)
    position = -1;
  return none;
}

size_t streamOf(const IssuedOp &issued) {
  return static_cast<size_t>(issued.op->stream);
}

/// What is done when ops begin that are issued one after the other.
class Clocks {
public:
  /// What is done when the next op, on `stream`, begins.
  StreamPositions next(size_t stream, const std::vector<int64_t> &waits) const {
    StreamPositions done = nowhere();
    if (last[stream] != -1)
      follow(done, last[stream]);
    for (int64_t position : waits)
      follow(done, position);
    return done;
  }
  /// Adds to `done` what follows from the op at `position` being done.
  void follow(StreamPositions &done, int64_t position) const {
    for (size_t s = 0; s < done.size(); ++s)
      done[s] = std::max(done[s], ops[position].done[s]);
    int64_t &own = done[ops[position].stream];
    own = std::max(own, position);
  }
  void issue(size_t stream, const StreamPositions &done) {
    last[stream] = static_cast<int64_t>(ops.size());
    ops.push_back({stream, done});
  }
  const StreamPositions &doneBefore(size_t position) const {
    return ops[position].done;
  }

private:
  struct Op {
    size_t stream;
    StreamPositions done;
  };
  std::vector<Op> ops;
  StreamPositions last = nowhere();
};

/// Who used which bytes last.
class ByteUses {
public:
  /// The op at `position` uses bytes that hold its value already.
  void use(int64_t begin, int64_t end, size_t stream, int64_t position) {
    // A live value is one range: nobody writes into it.
    auto [range, isNew] = ranges.try_emplace(begin, Range{end, nowhere()});
    range->second.lastUse[stream] = position;
  }
  /// The op at `position` puts something new there. Raises `needed` to the
  /// uses before.
  void write(int64_t begin, int64_t end, size_t stream, int64_t position,
             StreamPositions &needed) {
    cut(begin);
    cut(end);
    auto range = ranges.lower_bound(begin);
    while (range != ranges.end() && range->first < end) {
      for (size_t s = 0; s < needed.size(); ++s)
        needed[s] = std::max(needed[s], range->second.lastUse[s]);
      range = ranges.erase(range);
    }
    Range written{end, nowhere()};
    written.lastUse[stream] = position;
    ranges.emplace_hint(range, begin, written);
  }

private:
  struct Range {
    int64_t end;
    StreamPositions lastUse;
  };
  /// Makes `at` a border between ranges.
  void cut(int64_t at) {
    auto next = ranges.lower_bound(at);
    if (next == ranges.begin())
      return;
    Range &before = std::prev(next)->second;
    if (before.end <= at)
      return;
    Range behind = before;
    before.end = at;
    ranges.emplace_hint(next, at, behind);
  }

  std::map<int64_t, Range> ranges; ///< disjoint, by begin
};

bool isForWeights(const plan::Program &program) {
  return program.phase == plan::Phase::weight_grad;
}

/// For each group of a stage's slots the number of its layout, from 1 on.
/// Groups of one layout lie in the same places of all slots, seen from each
/// other: what shares bytes with another one in one slot does so in all. Empty:
/// there are none, as where programs run for some microbatches only, and have
/// no places in the slots of others.
std::vector<size_t> layoutsOf(const plan::Stage &stage) {
  if (stage.slots.empty() || stage.programs.size() != 2)
    return {};
  const std::vector<int64_t> &first = stage.slots.front();
  std::map<std::vector<int64_t>, size_t> known; // by moves from slot to slot
  std::vector<size_t> layouts;
  for (size_t group = 0; group < first.size(); ++group) {
    std::vector<int64_t> moves;
    for (const std::vector<int64_t> &slot : stage.slots)
      moves.push_back(slot[group] - first[group]);
    layouts.push_back(
        known.try_emplace(std::move(moves), known.size() + 1).first->second);
  }
  return layouts;
}

/// Finds for ops in issue order what they must wait for.
class WaitFinder {
public:
  /// `layouts`: see layoutsOf().
  WaitFinder(size_t members, bool isPlaced, std::vector<size_t> layouts = {})
      : isPlaced(isPlaced), layouts(std::move(layouts)), values(members),
        lastComputed(members, -1) {
    size_t count = 0;
    for (size_t layout : this->layouts)
      count = std::max(count, layout);
    bytes.resize(1 + count);
  }

  /// Issues `issued`, which waits for its own `waits`, and returns what it must
  /// wait for besides, rising.
  std::vector<int64_t> issue(const IssuedOp &issued) {
    size_t stream = streamOf(issued);
    auto position = static_cast<int64_t>(count++);
    StreamPositions needed = nowhere();
    auto need = [&](const StreamPositions &positions) {
      for (size_t s = 0; s < needed.size(); ++s)
        needed[s] = std::max(needed[s], positions[s]);
    };
    for (plan::ValueIndex input : issued.op->inputs)
      if (input != -1)
        need(lookup(issued, input).written);
    for (plan::ValueIndex output : issued.op->outputs)
      if (output != -1)
        write(issued, stream, position, output, needed);
    if (isPlaced && issued.op->scratchBytes > 0)
      bytes.front().write(issued.op->scratchOffset,
                          issued.op->scratchOffset + issued.op->scratchBytes,
                          stream, position, needed);
    for (plan::ValueIndex released : issued.op->releases)
      need(lookup(issued, released).lastUse);
    for (plan::ValueIndex input : issued.op->inputs)
      if (input != -1)
        use(issued, stream, position, input);

    int64_t &computed = lastComputed[issued.member];
    if (issued.op->stream == plan::Stream::compute)
      computed = position;
    else if (issued.op->stream == plan::Stream::copy_in ||
             (issued.isForWeights &&
              issued.op->stream == plan::Stream::expert_communication))
      needed[kCompute] = std::max(needed[kCompute], computed);

    needed[stream] = -1;
    StreamPositions done = clocks.next(stream, issued.waits);
    std::vector<int64_t> waits;
    // The latest first: it may be behind the others.
    for (;;) {
      int64_t &latest = *std::max_element(needed.begin(), needed.end());
      if (latest == -1)
        break;
      auto of = static_cast<size_t>(&latest - needed.data());
      if (latest > done[of]) {
        waits.push_back(latest);
        clocks.follow(done, latest);
      }
      latest = -1;
    }
    clocks.issue(stream, done);
    std::sort(waits.begin(), waits.end());
    return waits;
  }

private:
  struct Known {
    StreamPositions written = nowhere();
    StreamPositions lastUse = nowhere();
  };

  Known &lookup(const IssuedOp &issued, plan::ValueIndex value) {
    std::vector<Known> &known = values[issued.member];
    if (known.empty())
      known.resize(issued.stage->values.size());
    return known[value];
  }

  /// What shares bytes with a slot value is kept off it without waits
  /// (SlotPlacement.h), but for others of the microbatch in slots of one
  /// layout.
  bool isTracked(const plan::Value &value) const {
    return isPlaced && value.bytes > 0 &&
           (value.placement == plan::Placement::fixed || !layouts.empty());
  }
  ByteUses &bytesAround(const plan::Value &value) {
    return bytes[value.placement == plan::Placement::fixed
                     ? 0
                     : layouts[static_cast<size_t>(value.group)]];
  }
  /// Addresses of the host stand above those of the device.
  static int64_t addressOf(const IssuedOp &issued, const plan::Value &value) {
    const int64_t base =
        value.placement == plan::Placement::fixed
            ? 0
            : issued.stage->slots.front()[static_cast<size_t>(value.group)];
    return base + value.offset + (value.isOnHost() ? int64_t{1} << 55 : 0);
  }

  void use(const IssuedOp &issued, size_t stream, int64_t position,
           plan::ValueIndex index) {
    lookup(issued, index).lastUse[stream] = position;
    const plan::Value &value = issued.stage->values[index];
    if (!isTracked(value))
      return;
    int64_t begin = addressOf(issued, value);
    bytesAround(value).use(begin, begin + value.bytes, stream, position);
  }

  void write(const IssuedOp &issued, size_t stream, int64_t position,
             plan::ValueIndex index, StreamPositions &needed) {
    Known &known = lookup(issued, index);
    known = {};
    known.written[stream] = known.lastUse[stream] = position;
    const plan::Value &value = issued.stage->values[index];
    if (value.overwrites != -1) {
      const Known &overwritten = lookup(issued, value.overwrites);
      for (size_t s = 0; s < needed.size(); ++s)
        needed[s] = std::max(needed[s], overwritten.lastUse[s]);
    }
    if (!isTracked(value))
      return;
    int64_t begin = addressOf(issued, value);
    bytesAround(value).write(begin, begin + value.bytes, stream, position,
                             needed);
  }

  static constexpr auto kCompute = static_cast<size_t>(plan::Stream::compute);

  bool isPlaced;
  std::vector<size_t> layouts;            ///< by group of the stage's slots
  std::vector<std::vector<Known>> values; ///< by member and value
  std::vector<int64_t> lastComputed;      ///< by member, its last compute op
  /// Of what is outside slots, and of each layout.
  std::vector<ByteUses> bytes;
  Clocks clocks;
  size_t count = 0;
};

void setWaits(const plan::Stage &stage, plan::Program &program,
              WaitFinder finder) {
  for (plan::Op &op : program.ops)
    op.waits = finder.issue({0, &stage, &op, {}, isForWeights(program)});
}

} // namespace

std::vector<IssuedOp> issueProgram(const plan::Stage &stage,
                                   const plan::Program &program) {
  std::vector<IssuedOp> issued;
  for (const plan::Op &op : program.ops)
    issued.push_back({0, &stage, &op, op.waits, isForWeights(program)});
  return issued;
}

std::vector<IssuedOp> issueOverlap(const plan::Plan &plan,
                                   const plan::Overlap &overlap) {
  struct Member {
    const plan::Stage *stage = nullptr;
    const plan::Program *program = nullptr;
    std::vector<int64_t> positions; ///< of its ops
  };
  std::array<Member, 2> members;
  for (size_t m = 0; m < members.size(); ++m) {
    members[m].stage = &plan.stages[overlap.members[m].stage];
    for (const plan::Program &program : members[m].stage->programs)
      if (program.phase == overlap.members[m].phase)
        members[m].program = &program;
  }
  std::vector<IssuedOp> issued;
  for (int64_t m : overlap.order) {
    Member &member = members[m];
    const plan::Op &op = member.program->ops[member.positions.size()];
    member.positions.push_back(static_cast<int64_t>(issued.size()));
    issued.push_back({m, member.stage, &op, {}});
    for (int64_t wait : op.waits)
      issued.back().waits.push_back(member.positions[wait]);
  }
  for (const plan::Overlap::Wait &wait : overlap.waits)
    issued[wait.op].waits.push_back(wait.on);
  return issued;
}

std::vector<StreamPositions> doneBefore(const std::vector<IssuedOp> &issued) {
  Clocks clocks;
  std::vector<StreamPositions> done;
  for (const IssuedOp &each : issued) {
    done.push_back(clocks.next(streamOf(each), each.waits));
    clocks.issue(streamOf(each), done.back());
  }
  return done;
}

std::vector<IssuedTime> estimateTimes(const std::vector<IssuedOp> &issued) {
  std::vector<IssuedTime> times;
  StreamPositions last = nowhere();
  for (const IssuedOp &each : issued) {
    IssuedTime time;
    auto follow = [&](int64_t position) {
      time.beginNs = std::max(time.beginNs, times[position].endNs);
    };
    int64_t &before = last[streamOf(each)];
    if (before != -1)
      follow(before);
    for (int64_t position : each.waits)
      follow(position);
    time.endNs = time.beginNs + each.op->timeNs;
    before = static_cast<int64_t>(times.size());
    times.push_back(time);
  }
  return times;
}

void setDataWaits(const plan::Stage &stage, plan::Program &program) {
  setWaits(stage, program, WaitFinder(1, false));
}

void setWaits(const plan::Stage &stage, plan::Program &program) {
  setWaits(stage, program, WaitFinder(1, true, layoutsOf(stage)));
}

std::vector<plan::Overlap::Wait> overlapWaits(const plan::Plan &plan,
                                              const plan::Overlap &overlap) {
  WaitFinder finder(overlap.members.size(), true);
  std::vector<plan::Overlap::Wait> waits;
  plan::Overlap without = overlap;
  without.waits.clear();
  std::vector<IssuedOp> issued = issueOverlap(plan, without);
  for (size_t i = 0; i < issued.size(); ++i)
    for (int64_t on : finder.issue(issued[i]))
      waits.push_back({static_cast<int64_t>(i), on});
  return waits;
}

} // namespace moe::optimize
