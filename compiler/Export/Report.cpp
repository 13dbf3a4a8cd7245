#include "compiler/Export/Report.h"

#include "compiler/Export/ReportPage.h"
#include "compiler/Export/Summary.h"
#include "compiler/Simulate/Executions.h"

#include <nlohmann/json.hpp>

#include <map>
#include <tuple>

namespace moe::report {

namespace {

using Json = nlohmann::ordered_json;

/// What changed, as class, difference, class, difference, ...
Json changes(const plan::ByteCounts &from, const plan::ByteCounts &to) {
  Json list = Json::array();
  for (size_t c = 0; c < plan::kMemoryClassCount; ++c)
    if (from.bytes[c] != to.bytes[c]) {
      list.push_back(c);
      list.push_back(to.bytes[c] - from.bytes[c]);
    }
  return list;
}

/// Makes the data of the page; its reader is report/report.js.
class DataWriter {
public:
  DataWriter(const plan::Plan &plan, const simulate::Timeline &timeline)
      : plan(plan), timeline(timeline) {}

  Result<Json> run() {
    MOE_RETURN_IF_ERROR(checkTimeline());
    header();
    for (const plan::Stage &stage : plan.stages)
      data["stages"].push_back(ofStage(stage));
    for (size_t rank = 0; rank < plan.ranks.size(); ++rank)
      MOE_RETURN_IF_ERROR(addRank(rank));
    for (const simulate::CriticalSegment &segment : timeline.criticalPath)
      data["critical"].push_back({segment.rank, static_cast<int>(segment.lane),
                                  segment.time.beginNs, segment.time.endNs,
                                  nameOf(segment)});
    for (const plan::Decision &each : plan.decisions)
      data["decisions"].push_back(
          {std::string(plan::name(each.action)) + " " +
               plan.stages[static_cast<size_t>(each.stage)]
                   .values[static_cast<size_t>(each.value)]
                   .name,
           formatBytes(each.bytes) + " for each microbatch in flight, " +
               formatNanoseconds(each.timeNs),
           each.reason});
    for (const plan::Assumption &each : plan.assumptions)
      data["assumptions"].push_back({each.name, each.value, each.source});
    return std::move(data);
  }

private:
  Status checkTimeline() const {
    bool same = plan.ranks.size() == timeline.ranks.size();
    for (size_t rank = 0; same && rank < plan.ranks.size(); ++rank)
      same = plan.ranks[rank].steps.size() == timeline.ranks[rank].steps.size();
    if (!same)
      return Error{"report: the timeline is not one of this plan"};
    return {};
  }

  void header() {
    data["model"]["name"] = plan.model.name;
    data["machine"] = {{"name", plan.machine.name},
                       {"budget_bytes", plan.machine.budgetBytes},
                       {"reserve_bytes", plan.machine.reserveBytes}};
    data["layout"] = {{"pipeline", plan.layout.pipeline},
                      {"expert", plan.layout.expert},
                      {"data", plan.layout.data},
                      {"microbatches", plan.layout.microbatches},
                      {"microbatch_size", plan.layout.microbatchSize},
                      {"sequence_length", plan.layout.sequenceLength}};
    data["schedule"] = plan.schedule;
    data["dtype"] = moe::name(plan.dtype);
    data["step_ns"] = timeline.stepNs;
    data["bubble"] = timeline.bubble;
    data["utilization"] = timeline.modelFlopsUtilization;
    data["prediction"]["fits"] = plan.prediction.fits;
    for (size_t c = 0; c < plan::kMemoryClassCount; ++c)
      data["classes"].push_back(plan::name(static_cast<plan::MemoryClass>(c)));
    for (size_t lane = 0; lane < simulate::kLaneCount; ++lane) {
      data["lanes"].push_back(
          simulate::name(static_cast<simulate::Lane>(lane)));
      bool used = false;
      for (const simulate::RankTimeline &rank : timeline.ranks)
        used |= rank.laneBusyNs[lane] > 0;
      data["lanes_used"].push_back(used);
    }
    data["op_lanes"] = plan::kStreamCount; // the first of them
    // Filled as they are met.
    for (const char *list : {"kinds", "stages", "programs", "executions",
                             "ranks", "critical", "decisions", "assumptions"})
      data[list] = Json::array();
  }

  static Json ofStage(const plan::Stage &stage) {
    Json values = Json::array();
    for (const plan::Value &value : stage.values)
      values.push_back({value.name, value.bytes});
    return {{"name", stage.name},
            {"blocks", formatBlocks(stage.blocks)},
            {"values", values}};
  }

  /// The index of a program in the data, which lists its ops.
  int64_t programOf(int64_t stage, plan::Phase phase) {
    auto [known, isNew] = programs.emplace(
        std::pair{stage, phase}, static_cast<int64_t>(programs.size()));
    if (!isNew)
      return known->second;
    Json ops = Json::array();
    for (const plan::Op &op : simulate::findProgram(plan, stage, phase)->ops) {
      Json outputs = Json::array();
      for (plan::ValueIndex value : op.outputs)
        if (value >= 0)
          outputs.push_back(value);
      Json entry = {{"kind", op.kind},
                    {"name", op.name},
                    {"outputs", outputs},
                    {"releases", op.releases}};
      // Of a copy, what there is on the host: its other end has the same.
      if (op.stream == plan::Stream::copy_out && !op.outputs.empty())
        entry["host"] = op.outputs[0];
      if (op.stream == plan::Stream::copy_in && !op.inputs.empty())
        entry["host"] = op.inputs[0];
      ops.push_back(std::move(entry));
    }
    data["programs"].push_back({{"ops", ops}});
    return known->second;
  }

  void addKind(std::string_view kind) {
    for (const Json &known : data["kinds"])
      if (known == kind)
        return;
    data["kinds"].push_back(kind);
  }

  Json part(int64_t stage, plan::Phase phase) {
    addKind(plan::name(phase));
    return {{"phase", plan::name(phase)},
            {"stage", stage},
            {"program", programOf(stage, phase)}};
  }

  static Json inside(const simulate::Execution &execution) {
    Json ops = {{"begin", Json::array()},
                {"ns", Json::array()},
                {"lane", Json::array()},
                {"part", Json::array()},
                {"op", Json::array()}};
    for (const simulate::Execution::Op &op : execution.ops) {
      ops["begin"].push_back(op.time.beginNs);
      ops["ns"].push_back(op.time.ns());
      ops["lane"].push_back(static_cast<int>(op.lane));
      ops["part"].push_back(op.member);
      ops["op"].push_back(op.op);
    }
    Json samples = {{"ns", Json::array()}, {"live", Json::array()}};
    plan::ByteCounts before;
    for (const simulate::MemorySample &sample : execution.samples) {
      samples["ns"].push_back(sample.ns);
      samples["live"].push_back(changes(before, sample.live));
      before = sample.live;
    }
    return {{"ops", ops}, {"samples", samples}};
  }

  /// The index in the data of what a step executes, the same for every
  /// microbatch.
  Result<int64_t> executionOf(size_t rank, const plan::Step &step) {
    bool isOverlap = step.kind == plan::StepKind::overlap;
    bool isRun = step.kind == plan::StepKind::run;
    std::tuple key{step.kind, isOverlap ? static_cast<int64_t>(rank) : -1,
                   isOverlap ? step.overlap
                   : isRun   ? step.stage
                             : -1,
                   isRun ? step.phase : plan::Phase::forward};
    auto [known, isNew] =
        executions.emplace(key, static_cast<int64_t>(executions.size()));
    if (!isNew)
      return known->second;
    Result<simulate::Execution> execution = simulate::Execution();
    Json parts = Json::array();
    std::string_view kind = plan::name(step.kind);
    if (isOverlap) {
      const plan::Overlap &overlap =
          plan.ranks[rank].overlaps[static_cast<size_t>(step.overlap)];
      execution = simulate::execute(plan, overlap);
      for (const plan::Overlap::Member &member : overlap.members)
        parts.push_back(part(member.stage, member.phase));
    } else if (isRun) {
      kind = plan::name(step.phase);
      execution = simulate::execute(
          plan, step.stage,
          *simulate::findProgram(plan, step.stage, step.phase));
      parts.push_back(part(step.stage, step.phase));
    } else {
      addKind(kind);
    }
    if (!execution)
      return execution.error();
    Json entry = {
        {"kind", kind}, {"stage", isRun ? step.stage : -1}, {"parts", parts}};
    entry.update(inside(*execution));
    data["executions"].push_back(std::move(entry));
    return known->second;
  }

  Status addRank(size_t index) {
    const plan::Rank &rank = plan.ranks[index];
    const simulate::RankTimeline &times = timeline.ranks[index];
    Json runs = {{"begin", Json::array()},     {"ns", Json::array()},
                 {"execution", Json::array()}, {"microbatch", Json::array()},
                 {"second", Json::array()},    {"live", Json::array()}};
    int64_t lastNs = 0;
    plan::ByteCounts before;
    std::map<std::pair<int64_t, size_t>, const plan::Step *> messages;
    for (size_t i = 0; i < rank.steps.size(); ++i) {
      const plan::Step &step = rank.steps[i];
      const simulate::Interval &time = times.steps[i];
      if (step.kind == plan::StepKind::receive)
        messages[{time.beginNs, i}] = &step;
      if (!plan::isExecution(step.kind) && plan::isOfMicrobatch(step.kind))
        continue;
      Result<int64_t> execution = executionOf(index, step);
      if (!execution)
        return execution.error();
      runs["begin"].push_back(time.beginNs - lastNs);
      lastNs = time.beginNs;
      runs["ns"].push_back(time.ns());
      runs["execution"].push_back(*execution);
      runs["microbatch"].push_back(step.microbatch);
      runs["second"].push_back(step.secondMicrobatch);
      runs["live"].push_back(changes(before, step.live));
      before = step.live;
    }
    const char *fields[] = {"begin", "ns",    "peer",
                            "stage", "value", "microbatch"};
    Json arrivals;
    for (const char *field : fields)
      arrivals[field] = Json::array();
    lastNs = 0;
    for (auto &[key, step] : messages) {
      int64_t beginNs = key.first;
      arrivals["begin"].push_back(beginNs - lastNs);
      lastNs = beginNs;
      arrivals["ns"].push_back(times.steps[key.second].endNs - beginNs);
      arrivals["peer"].push_back(step->peer);
      arrivals["stage"].push_back(step->stage);
      arrivals["value"].push_back(step->value);
      arrivals["microbatch"].push_back(step->microbatch);
    }
    data["ranks"].push_back(
        {{"index", index},
         {"stages", rank.stages},
         {"persistent_bytes", rank.persistent.total()},
         {"peak_bytes", times.peakBytes},
         {"peak_ns", times.peakNs},
         {"peak_place", placeOfPeak(rank)},
         {"margin_bytes", plan.machine.budgetBytes - plan.machine.reserveBytes -
                              rank.arenaBytes},
         {"busy_ns", times.busyNs},
         {"exposed_ns", times.exposedCommunicationNs},
         {"exposed_copy_ns", times.exposedCopyNs},
         {"host_bytes", rank.hostArenaBytes},
         {"runs", runs},
         {"messages", arrivals}});
    return {};
  }

  std::string placeOfPeak(const plan::Rank &rank) const {
    if (rank.peakStep < 0)
      return "throughout";
    const plan::Step &step = rank.steps[static_cast<size_t>(rank.peakStep)];
    std::string text(step.kind == plan::StepKind::run ? plan::name(step.phase)
                                                      : plan::name(step.kind));
    if (step.kind == plan::StepKind::overlap)
      text += " of microbatches " + std::to_string(step.microbatch) + " and " +
              std::to_string(step.secondMicrobatch);
    else if (step.stage >= 0)
      text += " of " + plan.stages[static_cast<size_t>(step.stage)].name +
              ", microbatch " + std::to_string(step.microbatch);
    return rank.peakOp.empty() ? text : rank.peakOp + " in " + text;
  }

  std::string nameOf(const simulate::CriticalSegment &segment) const {
    if (segment.step < 0)
      return "idle";
    const plan::Step &step = plan.ranks[static_cast<size_t>(segment.rank)]
                                 .steps[static_cast<size_t>(segment.step)];
    if (step.kind == plan::StepKind::run)
      return std::string(plan::name(step.phase));
    if (step.kind == plan::StepKind::receive)
      return "transfer";
    return std::string(plan::name(step.kind));
  }

  const plan::Plan &plan;
  const simulate::Timeline &timeline;
  Json data;
  std::map<std::pair<int64_t, plan::Phase>, int64_t> programs;
  std::map<std::tuple<plan::StepKind, int64_t, int64_t, plan::Phase>, int64_t>
      executions;
};

/// Text in which no character begins markup.
std::string escapeHtml(std::string_view text) {
  std::string escaped;
  for (char c : text)
    switch (c) {
    case '&':
      escaped += "&amp;";
      break;
    case '<':
      escaped += "&lt;";
      break;
    case '>':
      escaped += "&gt;";
      break;
    default:
      escaped += c;
    }
  return escaped;
}

/// JSON in which no text ends the element that it stands in: '<' occurs in
/// strings only, where it may be written as an escape.
std::string printForHtml(const Json &data) {
  std::string escaped;
  for (char c : data.dump(-1, ' ', false, Json::error_handler_t::replace))
    if (c == '<')
      escaped += "\\u003c";
    else
      escaped += c;
  return escaped;
}

} // namespace

Result<std::string> htmlReport(const plan::Plan &plan,
                               const simulate::Timeline &timeline) {
  Result<Json> data = DataWriter(plan, timeline).run();
  if (!data)
    return data.error();
  std::map<std::string_view, std::string> parts = {
      {"title", escapeHtml(plan.model.name) + " - pipeline plan"},
      {"style", std::string(kPageStyle)},
      {"script", std::string(kPageScript)},
      {"data", printForHtml(*data)}};
  std::string page;
  std::string_view rest = kPageHtml;
  while (true) {
    size_t begin = rest.find("{{");
    if (begin == std::string_view::npos)
      return page.append(rest);
    size_t end = rest.find("}}", begin);
    page += rest.substr(0, begin);
    page += parts[rest.substr(begin + 2, end - begin - 2)];
    rest.remove_prefix(end + 2);
  }
}

} // namespace moe::report
