#include "compiler/Export/SummaryTimeline.h"

#include "compiler/Export/Summary.h"
#include "compiler/Export/Table.h"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <map>

namespace moe::report {

using plan::StepKind;
using simulate::Lane;

namespace {

constexpr size_t kWidth = 110;
using Align = Table::Align;
using Json = nlohmann::ordered_json;

double shareOf(int64_t part, int64_t whole) {
  return whole > 0 ? static_cast<double>(part) / static_cast<double>(whole) : 0;
}

/// The op at which a rank's live bytes are largest, or null.
const plan::Op *peakOp(const plan::Plan &plan, const plan::Rank &rank,
                       const simulate::RankTimeline &times) {
  if (times.peakStep < 0 || times.peakOp < 0)
    return nullptr;
  const plan::Step &step = rank.steps[static_cast<size_t>(times.peakStep)];
  plan::Overlap::Member member{step.stage, step.phase};
  if (step.kind == StepKind::overlap)
    member = rank.overlaps[static_cast<size_t>(step.overlap)]
                 .members[static_cast<size_t>(times.peakMember)];
  for (const plan::Program &program :
       plan.stages[static_cast<size_t>(member.stage)].programs)
    if (program.phase == member.phase)
      return &program.ops[static_cast<size_t>(times.peakOp)];
  return nullptr;
}

/// "212: backward 5, layers.3.mlp.experts.down".
std::string peakPlace(const plan::Plan &plan, const plan::Rank &rank,
                      const simulate::RankTimeline &times) {
  if (times.peakStep < 0)
    return "-";
  const plan::Step &step = rank.steps[static_cast<size_t>(times.peakStep)];
  std::string text = std::to_string(times.peakStep) + ": ";
  text += step.kind == StepKind::run ? name(step.phase) : name(step.kind);
  if (step.microbatch >= 0)
    text += " " + std::to_string(step.microbatch);
  if (const plan::Op *op = peakOp(plan, rank, times))
    text += ", " + op->name;
  return text;
}

/// What a stretch of the critical path is, as far as people care.
std::string kindOf(const plan::Plan &plan,
                   const simulate::CriticalSegment &segment) {
  const plan::Step &step = plan.ranks[static_cast<size_t>(segment.rank)]
                               .steps[static_cast<size_t>(segment.step)];
  switch (step.kind) {
  case StepKind::run:
  case StepKind::overlap: {
    std::string what(step.kind == StepKind::run ? name(step.phase)
                                                : name(step.kind));
    switch (segment.lane) {
    case Lane::compute:
      return what + ", compute";
    case Lane::copy_out:
      return what + ", copy to host";
    case Lane::copy_in:
      return what + ", copy from host";
    default:
      return what + ", expert communication";
    }
  }
  case StepKind::receive:
    return segment.lane == Lane::local_copy ? "copy within a rank"
                                            : "transfer between ranks";
  default:
    return std::string(name(step.kind));
  }
}

struct KindTime {
  std::string kind;
  int64_t ns = 0;
};

/// The longest first.
std::vector<KindTime> criticalKinds(const plan::Plan &plan,
                                    const simulate::Timeline &timeline) {
  std::map<std::string, int64_t> sums;
  for (const simulate::CriticalSegment &segment : timeline.criticalPath)
    sums[kindOf(plan, segment)] += segment.time.ns();
  std::vector<KindTime> kinds;
  for (const auto &[kind, ns] : sums)
    kinds.push_back({kind, ns});
  std::sort(kinds.begin(), kinds.end(),
            [](const KindTime &a, const KindTime &b) {
              return a.ns != b.ns ? a.ns > b.ns : a.kind < b.kind;
            });
  return kinds;
}

bool isUsed(const simulate::Timeline &timeline, Lane lane) {
  return std::any_of(timeline.ranks.begin(), timeline.ranks.end(),
                     [&](const simulate::RankTimeline &rank) {
                       return rank.laneBusyNs[static_cast<size_t>(lane)] > 0;
                     });
}

bool usesHost(const simulate::Timeline &timeline) {
  return isUsed(timeline, Lane::copy_out) || isUsed(timeline, Lane::copy_in);
}

std::string rankTable(const plan::Plan &plan,
                      const simulate::Timeline &timeline) {
  bool hasLocal = isUsed(timeline, Lane::local_copy);
  bool hasHost = usesHost(timeline);
  Table table;
  for (const char *heading :
       {"rank", "busy", "compute", "experts", "exposed", "receive"})
    table.addColumn(heading, Align::right);
  if (hasLocal)
    table.addColumn("copy", Align::right);
  if (hasHost)
    for (const char *heading : {"to host", "from host", "waited"})
      table.addColumn(heading, Align::right);
  table.addColumn("ends", Align::right);
  table.addColumn("peak", Align::right);
  table.addColumn("at", Align::right);
  table.addColumn("in step", Align::left);
  for (size_t i = 0; i < timeline.ranks.size(); ++i) {
    const simulate::RankTimeline &rank = timeline.ranks[i];
    auto share = [&](int64_t ns) {
      // The unit stands above the table, for room.
      std::string text = formatPercent(shareOf(ns, timeline.stepNs));
      return text.substr(0, text.size() - 2);
    };
    auto lane = [&](Lane of) {
      return share(rank.laneBusyNs[static_cast<size_t>(of)]);
    };
    std::vector<std::string> cells = {std::to_string(i),
                                      share(rank.busyNs),
                                      lane(Lane::compute),
                                      lane(Lane::expert_communication),
                                      share(rank.exposedCommunicationNs),
                                      lane(Lane::pipeline_communication)};
    if (hasLocal)
      cells.push_back(lane(Lane::local_copy));
    if (hasHost) {
      cells.push_back(lane(Lane::copy_out));
      cells.push_back(lane(Lane::copy_in));
      cells.push_back(share(rank.exposedCopyNs));
    }
    cells.push_back(formatNanoseconds(rank.endNs));
    cells.push_back(formatBytes(rank.peakBytes));
    cells.push_back(formatNanoseconds(rank.peakNs));
    cells.push_back(peakPlace(plan, plan.ranks[i], rank));
    table.addRow(std::move(cells));
  }
  return table.print(2, kWidth);
}

std::string criticalTable(const plan::Plan &plan,
                          const simulate::Timeline &timeline) {
  if (timeline.criticalPath.empty())
    return "";
  Table table;
  table.addColumn("", Align::left);
  table.addColumn("", Align::right);
  table.addColumn("", Align::right);
  for (const KindTime &kind : criticalKinds(plan, timeline))
    table.addRow({kind.kind, formatNanoseconds(kind.ns),
                  formatPercent(shareOf(kind.ns, timeline.stepNs))});
  return "\nCritical path (the longest chain of what waits for each other)\n" +
         table.print(2, kWidth);
}

} // namespace

std::string summarizeTimeline(const plan::Plan &plan,
                              const simulate::Timeline &timeline) {
  std::string text = "Step time: " + formatNanoseconds(timeline.stepNs) +
                     " estimated, bubble " + formatPercent(timeline.bubble);
  if (timeline.modelFlopsUtilization > 0)
    text += ", model FLOPs utilization " +
            formatPercent(timeline.modelFlopsUtilization);
  text +=
      "\n\nRanks, in percent of the step time (busy = in programs, gradient "
      "reduction and update;\nexposed = communication of these while "
      "compute is idle; receive = bytes from other ranks";
  if (usesHost(timeline))
    text += ";\nto host, from host = copies; waited = for these alone";
  text += ")\n";
  return text + rankTable(plan, timeline) + criticalTable(plan, timeline);
}

std::string printTimeline(const plan::Plan &plan,
                          const simulate::Timeline &timeline) {
  Json ranks = Json::array();
  for (size_t i = 0; i < timeline.ranks.size(); ++i) {
    const simulate::RankTimeline &rank = timeline.ranks[i];
    Json lanes;
    for (size_t lane = 0; lane < simulate::kLaneCount; ++lane)
      lanes[std::string(simulate::name(static_cast<Lane>(lane)))] =
          rank.laneBusyNs[lane];
    const plan::Op *op = peakOp(plan, plan.ranks[i], rank);
    ranks.push_back({{"rank", i},
                     {"end_ns", rank.endNs},
                     {"busy_ns", rank.busyNs},
                     {"exposed_communication_ns", rank.exposedCommunicationNs},
                     {"exposed_copy_ns", rank.exposedCopyNs},
                     {"lane_busy_ns", std::move(lanes)},
                     {"peak_bytes", rank.peakBytes},
                     {"peak_ns", rank.peakNs},
                     {"peak_step", rank.peakStep},
                     {"peak_op", op ? op->name : ""}});
  }
  Json kinds = Json::array();
  for (const KindTime &kind : criticalKinds(plan, timeline))
    kinds.push_back({{"kind", kind.kind}, {"ns", kind.ns}});
  Json path = Json::array();
  for (const simulate::CriticalSegment &segment : timeline.criticalPath)
    path.push_back({{"rank", segment.rank},
                    {"lane", simulate::name(segment.lane)},
                    {"begin_ns", segment.time.beginNs},
                    {"end_ns", segment.time.endNs},
                    {"step", segment.step}});
  Json document = {{"step_ns", timeline.stepNs},
                   {"bubble", timeline.bubble},
                   {"model_flops_utilization", timeline.modelFlopsUtilization},
                   {"ranks", std::move(ranks)},
                   {"critical_path_by_kind", std::move(kinds)},
                   {"critical_path", std::move(path)}};
  return document.dump(-1, ' ', false, Json::error_handler_t::replace) + "\n";
}

} // namespace moe::report
