#include "compiler/Export/Trace.h"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <array>
#include <cstdio>
#include <deque>
#include <map>
#include <utility>

namespace moe::report {

using plan::StepKind;
using simulate::Lane;

namespace {

/// The letters of torch.distributed.pipelining.
const char *letterOf(plan::Phase phase) {
  switch (phase) {
  case plan::Phase::forward:
    return "F";
  case plan::Phase::backward:
    return "B";
  case plan::Phase::backward_input:
    return "I";
  case plan::Phase::weight_grad:
    return "W";
  }
  return "?";
}

std::string action(int64_t stage, const std::string &what, int64_t microbatch) {
  return std::to_string(stage) + what + std::to_string(microbatch);
}

// Threads of a rank: the lanes, in their order, and what it sends.
constexpr int64_t kSendThread = simulate::kLaneCount;

int64_t threadOf(Lane lane) { return static_cast<int64_t>(lane); }

const char *threadName(int64_t thread) {
  switch (thread) {
  case 0:
    return "compute";
  case 1:
    return "expert communication";
  case 2:
    return "copy to host";
  case 3:
    return "copy from host";
  case 4:
    return "pipeline receive";
  case 5:
    return "local copy";
  default:
    return "pipeline send";
  }
}

std::string quoted(const std::string &text) {
  using nlohmann::json;
  return json(text).dump(-1, ' ', false, json::error_handler_t::replace);
}

/// "12.345": nanoseconds in microseconds.
std::string microseconds(int64_t ns) {
  std::array<char, 32> text;
  std::snprintf(text.data(), text.size(), "%lld.%03lld",
                static_cast<long long>(ns / 1000),
                static_cast<long long>(ns % 1000));
  return text.data();
}

class TraceWriter {
public:
  TraceWriter(const plan::Plan &plan, const simulate::Timeline &timeline)
      : plan(plan), timeline(timeline) {}

  std::string write() {
    text = "{\"displayTimeUnit\":\"ms\",\"traceEvents\":[\n";
    for (size_t rank = 0; rank < plan.ranks.size(); ++rank) {
      writeNames(rank);
      writeSteps(rank);
      writeMemory(rank);
    }
    writeTransfers();
    text += "\n]}\n";
    return std::move(text);
  }

private:
  /// One event: what all have, then `more`, which begins with a comma unless
  /// it is empty.
  void add(const char *phase, size_t rank, int64_t thread,
           const std::string &name, const std::string &more) {
    if (!isFirst)
      text += ",\n";
    isFirst = false;
    text += "{\"ph\":\"";
    text += phase;
    text += "\",\"pid\":" + std::to_string(rank) +
            ",\"tid\":" + std::to_string(thread) + ",\"name\":" + quoted(name) +
            more + "}";
  }

  void addSlice(size_t rank, int64_t thread, const std::string &name,
                const char *category, simulate::Interval time,
                const std::string &args) {
    add("X", rank, thread, name,
        ",\"cat\":\"" + std::string(category) +
            "\",\"ts\":" + microseconds(time.beginNs) +
            ",\"dur\":" + microseconds(time.ns()) + ",\"args\":{" + args + "}");
  }

  void writeNames(size_t rank) {
    auto metadata = [&](const char *what, int64_t thread,
                        const std::string &args) {
      add("M", rank, thread, what, ",\"args\":{" + args + "}");
    };
    std::string stages;
    for (int64_t stage : plan.ranks[rank].stages)
      stages += (stages.empty() ? ": " : ", ") +
                (stage >= 0 && stage < static_cast<int64_t>(plan.stages.size())
                     ? plan.stages[static_cast<size_t>(stage)].name
                     : std::to_string(stage));
    metadata("process_name", 0,
             "\"name\":" + quoted("rank " + std::to_string(rank) + stages));
    metadata("process_sort_index", 0, "\"sort_index\":" + std::to_string(rank));
    for (int64_t thread = 0; thread <= kSendThread; ++thread) {
      metadata("thread_name", thread, "\"name\":" + quoted(threadName(thread)));
      metadata("thread_sort_index", thread,
               "\"sort_index\":" + std::to_string(thread));
    }
  }

  /// Runs, overlaps, reduction and update, and the ops inside.
  void writeSteps(size_t rank) {
    const plan::Rank &of = plan.ranks[rank];
    const simulate::RankTimeline &times = timeline.ranks[rank];
    auto event = times.events.begin();
    for (size_t i = 0; i < of.steps.size(); ++i) {
      const plan::Step &step = of.steps[i];
      bool isReduction = step.kind == StepKind::reduce_gradients;
      if (times.steps[i].ns() == 0 ||
          !(plan::isExecution(step.kind) || isReduction ||
            step.kind == StepKind::update))
        continue;
      addSlice(
          rank,
          threadOf(isReduction ? Lane::expert_communication : Lane::compute),
          traceLabel(of, step), "step", times.steps[i],
          "\"step\":" + std::to_string(i));
      // Events of steps that execute come in the order of the steps; those of
      // transfers lie between them.
      for (; event != times.events.end() &&
             event->time.beginNs < times.steps[i].endNs;
           ++event)
        if (event->op >= 0)
          writeOp(rank, of, *event);
    }
  }

  void writeOp(size_t rank, const plan::Rank &of,
               const simulate::Event &event) {
    const plan::Step &step = of.steps[static_cast<size_t>(event.step)];
    plan::Overlap::Member member{step.stage, step.phase};
    int64_t microbatch = step.microbatch;
    if (step.kind == StepKind::overlap) {
      member = of.overlaps[static_cast<size_t>(step.overlap)]
                   .members[static_cast<size_t>(event.member)];
      if (event.member == 1)
        microbatch = step.secondMicrobatch;
    }
    const plan::Stage &stage = plan.stages[static_cast<size_t>(member.stage)];
    for (const plan::Program &program : stage.programs)
      if (program.phase == member.phase) {
        const plan::Op &op = program.ops[static_cast<size_t>(event.op)];
        addSlice(rank, threadOf(event.lane), op.name, "op", event.time,
                 "\"kind\":" + quoted(op.kind) +
                     ",\"microbatch\":" + std::to_string(microbatch));
        writeCopy(rank, member.stage, microbatch, op, event);
        return;
      }
  }

  /// An arrow from the copy of a value to the host to each copy back.
  void writeCopy(size_t rank, int64_t stage, int64_t microbatch,
                 const plan::Op &op, const simulate::Event &event) {
    bool isOut = op.stream == plan::Stream::copy_out;
    const std::vector<plan::ValueIndex> &held = isOut ? op.outputs : op.inputs;
    if ((!isOut && op.stream != plan::Stream::copy_in) || held.empty())
      return;
    std::string id = std::to_string(stage) + "." + std::to_string(held[0]) +
                     "." + std::to_string(microbatch);
    add(isOut ? "s" : "t", rank, threadOf(event.lane), "offload",
        ",\"cat\":\"offload\",\"id\":\"" + id +
            "\",\"ts\":" + microseconds(event.time.beginNs));
  }

  /// A counter for each class, where it changes, and for the total.
  void writeMemory(size_t rank) {
    plan::ByteCounts shown;
    int64_t shownTotal = 0;
    for (const simulate::MemorySample &sample : timeline.ranks[rank].samples) {
      auto count = [&](std::string_view what, int64_t bytes) {
        add("C", rank, 0, "mem." + std::string(what),
            ",\"ts\":" + microseconds(sample.ns) +
                ",\"args\":{\"bytes\":" + std::to_string(bytes) + "}");
      };
      for (size_t c = 0; c < plan::kMemoryClassCount; ++c)
        if (shown.bytes[c] != sample.live.bytes[c])
          count(plan::name(static_cast<plan::MemoryClass>(c)),
                sample.live.bytes[c]);
      if (shownTotal != sample.live.total())
        count("total", sample.live.total()); // of the device
      shown = sample.live;
      shownTotal = shown.total();
    }
  }

  /// Messages at both ends. The k-th send from one rank to another meets the
  /// k-th receive there.
  void writeTransfers() {
    struct End {
      size_t rank, step;
    };
    std::map<std::pair<int64_t, int64_t>, std::deque<End>> receives;
    for (size_t rank = 0; rank < plan.ranks.size(); ++rank)
      for (size_t i = 0; i < plan.ranks[rank].steps.size(); ++i)
        if (const plan::Step &step = plan.ranks[rank].steps[i];
            step.kind == StepKind::receive)
          receives[{step.peer, static_cast<int64_t>(rank)}].push_back(
              {rank, i});
    int64_t number = 0;
    for (size_t rank = 0; rank < plan.ranks.size(); ++rank)
      for (size_t i = 0; i < plan.ranks[rank].steps.size(); ++i) {
        const plan::Step &send = plan.ranks[rank].steps[i];
        if (send.kind != StepKind::send)
          continue;
        auto &waiting = receives[{static_cast<int64_t>(rank), send.peer}];
        if (waiting.empty())
          continue;
        End end = waiting.front();
        waiting.pop_front();
        simulate::Interval time = timeline.ranks[rank].steps[i];
        if (time.ns() == 0)
          continue;
        const plan::Step &receive = plan.ranks[end.rank].steps[end.step];
        const plan::Value &value =
            plan.stages[static_cast<size_t>(receive.stage)]
                .values[static_cast<size_t>(receive.value)];
        std::string args = "\"value\":" + quoted(value.name) +
                           ",\"bytes\":" + std::to_string(value.bytes);
        bool isLocal = end.rank == rank;
        addSlice(
            end.rank,
            threadOf(isLocal ? Lane::local_copy : Lane::pipeline_communication),
            traceLabel(plan.ranks[end.rank], receive), "transfer", time, args);
        if (isLocal)
          continue;
        addSlice(rank, kSendThread, traceLabel(plan.ranks[rank], send),
                 "transfer", time, args);
        ++number;
        std::string flow =
            ",\"cat\":\"transfer\",\"id\":" + std::to_string(number) +
            ",\"ts\":" + microseconds(time.beginNs);
        add("s", rank, kSendThread, "message", flow);
        add("f", end.rank, threadOf(Lane::pipeline_communication), "message",
            flow + ",\"bp\":\"e\"");
      }
  }

  const plan::Plan &plan;
  const simulate::Timeline &timeline;
  std::string text;
  bool isFirst = true;
};

} // namespace

std::string chromeTrace(const plan::Plan &plan,
                        const simulate::Timeline &timeline) {
  return TraceWriter(plan, timeline).write();
}

int64_t microbatchesForTrace(const plan::Plan &plan, int64_t events) {
  int64_t ops = 0;
  for (const plan::Stage &stage : plan.stages)
    for (const plan::Program &program : stage.programs)
      ops += static_cast<int64_t>(program.ops.size());
  return std::max<int64_t>(1, events / std::max<int64_t>(1, ops));
}

std::string traceLabel(const plan::Rank &rank, const plan::Step &step) {
  // Transfers run in the direction forward or backward, also where the
  // backward is split.
  std::string direction = step.phase == plan::Phase::forward ? "F" : "B";
  switch (step.kind) {
  case StepKind::run:
    return "PP:" + action(step.stage, letterOf(step.phase), step.microbatch);
  case StepKind::overlap: {
    const auto &members =
        rank.overlaps[static_cast<size_t>(step.overlap)].members;
    return "PP:(" +
           action(members[0].stage, letterOf(members[0].phase),
                  step.microbatch) +
           ";" +
           action(members[1].stage, letterOf(members[1].phase),
                  step.secondMicrobatch) +
           ")OVERLAP_F_B";
  }
  case StepKind::send:
    return "PP:" + action(step.stage, "SEND_" + direction, step.microbatch);
  case StepKind::receive:
    return "PP:" + action(step.stage, "RECV_" + direction, step.microbatch);
  case StepKind::load:
  case StepKind::wait_send:
  case StepKind::collect_loss:
  case StepKind::reduce_gradients:
  case StepKind::update:
    break;
  }
  return std::string(plan::name(step.kind));
}

} // namespace moe::report
