//===- Sweep.cpp - plans of many budgets, layouts and schedules -----------===//

#include "tools/moe-plan/Sweep.h"

#include "compiler/Cost/Machine.h"
#include "compiler/Export/Summary.h"
#include "compiler/Export/Sweep.h"
#include "driver/Arguments.h"
#include "support/Parallel.h"
#include "support/Words.h"
#include "tools/Validators.h"
#include "tools/moe-plan/InputFiles.h"
#include "tools/moe-plan/Progress.h"

#include <algorithm>
#include <iostream>
#include <set>
#include <vector>

using namespace moe;

CLI::App *moe::declareSweep(CLI::App &app, SweepOptions &options) {
  CLI::App *sweep = app.add_subcommand(
      "sweep", "Plan every combination of budgets, layouts, sizes of "
               "microbatches and schedules, and mark those that no other one "
               "beats in speed and memory");
  sweep
      ->add_option("--budgets", options.budgets,
                   "Budgets to plan for, e.g. 48GiB,64GiB,76GiB")
      ->type_name("SIZE,...")
      ->check(notEmpty());
  sweep
      ->add_option("--layouts", options.layouts,
                   "Layouts to plan for, e.g. \"pp=4,ep=8;pp=8,ep=4\"")
      ->type_name("LAYOUT;...")
      ->check(notEmpty());
  sweep
      ->add_option("--microbatch-sizes", options.microbatchSizes,
                   "Sequences of a microbatch to plan for, e.g. 1,2,4, each "
                   "with as many microbatches as have the sequences of "
                   "--microbatches and --microbatch-size together")
      ->type_name("N,...")
      ->check(notEmpty());
  sweep
      ->add_option("--schedules", options.schedules,
                   "Schedules to plan for, e.g. 1f1b,zb-v,dualpipe-v")
      ->type_name("NAME,...")
      ->check(notEmpty());
  sweep
      ->add_option("--jobs", options.jobs,
                   "Plans made at the same time; 0: as many as the machine has "
                   "threads, at most 16")
      ->capture_default_str()
      ->check(CLI::Range(0, 1024));
  sweep->add_option("--json", options.json, "Where to write the points as JSON")
      ->type_name("FILE")
      ->check(notEmpty());
  sweep
      ->add_option("--report", options.report,
                   "Where to write a page with the plot")
      ->type_name("FILE")
      ->check(notEmpty());
  sweep->footer(
      "Exit status: 0 a plan fits; 2 bad input, or no combination has "
      "a plan; 3 no plan fits its budget.");
  return sweep;
}

namespace {

Result<std::vector<driver::PlanRequest>>
combinations(const SweepOptions &options, const driver::PlanRequest &base) {
  std::vector<driver::PlanRequest> requests = {base};
  requests.front().reportsLevers = false; // a table has no room for them
  requests.front().onProgress = {};       // several are planned at a time
  auto multiply = [&](const std::string &text, char separator,
                      auto apply) -> Status {
    if (text.empty())
      return {};
    std::vector<driver::PlanRequest> more;
    for (const driver::PlanRequest &request : requests)
      for (std::string_view item : itemsOf(text, separator)) {
        driver::PlanRequest made = request;
        MOE_RETURN_IF_ERROR(apply(item, made));
        more.push_back(std::move(made));
      }
    requests = std::move(more);
    return {};
  };
  MOE_RETURN_IF_ERROR(multiply(
      options.layouts, ';',
      [](std::string_view item, driver::PlanRequest &request) -> Status {
        Result<plan::Layout> groups = driver::parseLayout(item);
        if (!groups)
          return Error{"--layouts: " + groups.error().message};
        groups->microbatches = request.layout.microbatches;
        groups->microbatchSize = request.layout.microbatchSize;
        groups->sequenceLength = request.layout.sequenceLength;
        request.layout = *groups;
        return {};
      }));
  MOE_RETURN_IF_ERROR(multiply(
      options.microbatchSizes, ',',
      [](std::string_view item, driver::PlanRequest &request) -> Status {
        Result<plan::Layout> layout =
            driver::withMicrobatchSize(request.layout, item);
        if (!layout)
          return Error{"--microbatch-sizes: " + layout.error().message};
        request.layout = *layout;
        return {};
      }));
  MOE_RETURN_IF_ERROR(multiply(
      options.schedules, ',',
      [](std::string_view item, driver::PlanRequest &request) -> Status {
        if (item.empty())
          return Error{"--schedules: an empty name"};
        request.schedule = item;
        return {};
      }));
  MOE_RETURN_IF_ERROR(multiply(
      options.budgets, ',',
      [](std::string_view item, driver::PlanRequest &request) -> Status {
        Result<int64_t> bytes = driver::parseBytes(item);
        if (!bytes)
          return Error{"--budgets: " + bytes.error().message};
        request.budgetBytes = *bytes;
        return {};
      }));
  return requests;
}

/// A plan within a smaller budget is one within a larger budget as well: where
/// that is quicker, it is the point of both.
void inheritFromSmallerBudgets(std::vector<report::SweepPoint> &points) {
  std::vector<report::SweepPoint> made = points;
  for (report::SweepPoint &point : points)
    for (const report::SweepPoint &other : made) {
      if (other.layout != point.layout || other.schedule != point.schedule ||
          other.microbatchSize != point.microbatchSize ||
          other.budgetBytes > point.budgetBytes || !other.error.empty() ||
          !other.fits ||
          (point.error.empty() && point.fits && point.stepNs <= other.stepNs))
        continue;
      int64_t budget = point.budgetBytes;
      point = other;
      point.budgetBytes = budget;
    }
}

report::SweepPoint planOne(const driver::PlanRequest &request) {
  Result<driver::PlanAnswer> answer = driver::makePlan(request);
  if (answer) {
    report::SweepPoint point = report::sweepPoint(answer->plan);
    point.schedule = request.schedule;
    return point;
  }
  report::SweepPoint point = report::pointOfLayout(request.layout);
  point.schedule = request.schedule;
  point.budgetBytes = request.budgetBytes;
  point.error = answer.error().message;
  return point;
}

/// What is wrong with all combinations is told once, before any is planned.
Status checkRequests(const std::vector<driver::PlanRequest> &requests) {
  std::set<std::string> schedules;
  for (const driver::PlanRequest &request : requests)
    if (schedules.insert(request.schedule).second)
      MOE_RETURN_IF_ERROR(driver::checkRequest(request));
  return {};
}

std::vector<report::SweepPoint>
planAll(const std::vector<driver::PlanRequest> &requests, size_t jobs) {
  std::vector<report::SweepPoint> points(requests.size());
  Progress progress;
  auto report = [&](size_t done) {
    progress.show(done, points.size(), "combinations planned");
  };
  report(0);
  inParallel(
      points.size(), jobs,
      [&](size_t number) { points[number] = planOne(requests[number]); },
      report);
  return points;
}

bool isWithoutPlan(const report::SweepPoint &point) {
  return !point.error.empty();
}

bool isFitting(const report::SweepPoint &point) {
  return point.error.empty() && point.fits;
}

} // namespace

Status moe::checkAlternatives(const CLI::App &app, const CLI::App &sweep) {
  for (auto [one, list] :
       {std::pair("--budget", "--budgets"), std::pair("--layout", "--layouts"),
        std::pair("--schedule", "--schedules")})
    if (sweep.count(list) > 0 && app.count(one) + sweep.count(one) > 0)
      return Error{std::string(list) + " excludes " + one +
                   ": the list is all that is planned for"};
  for (const char *file : {"--output", "--emit-ir", "--emit-schedule"})
    if (app.count(file) > 0)
      return Error{std::string(file) +
                   " is for one plan; sweep has --json and --report"};
  return {};
}

Result<bool> moe::runSweep(const SweepOptions &options,
                           driver::PlanRequest base,
                           const std::string &config) {
  Result<cost::Machine> machine =
      cost::loadMachine(base.machine, cost::machineDirectories());
  if (!machine)
    return machine.error();
  // Points without a plan tell of a budget as well.
  if (base.budgetBytes == 0)
    base.budgetBytes = machine->memoryBytes;
  Result<std::vector<driver::PlanRequest>> requests =
      combinations(options, base);
  if (!requests)
    return requests.error();
  std::vector<NamedFile> inputs = inputFilesOf(base, config);
  for (const driver::PlanRequest &request : *requests)
    inputs.push_back({"--schedules", request.schedule});
  MOE_RETURN_IF_ERROR(checkOutputs(
      {{"--json", options.json}, {"--report", options.report}}, inputs));
  MOE_RETURN_IF_ERROR(checkRequests(*requests));

  std::vector<report::SweepPoint> points = planAll(
      *requests, jobsOrDefault(options.jobs > 0 ? options.jobs : base.jobs));
  const std::string &firstError = points.front().error;
  if (!firstError.empty() && std::all_of(points.begin(), points.end(),
                                         [&](const report::SweepPoint &point) {
                                           return point.error == firstError;
                                         }))
    return Error{"no combination has a plan: " + firstError};
  inheritFromSmallerBudgets(points);
  report::markFront(points);
  std::cout << report::printSweep(points);
  if (!options.json.empty())
    MOE_RETURN_IF_ERROR(writeFile(options.json, report::sweepJson(points)));
  if (!options.report.empty())
    MOE_RETURN_IF_ERROR(writeFile(
        options.report, report::sweepPage(points, "Plans of " + base.modelPath +
                                                      " on " + base.machine)));
  if (std::all_of(points.begin(), points.end(), isWithoutPlan))
    return Error{"no combination has a plan; the first: " + firstError};
  return std::any_of(points.begin(), points.end(), isFitting);
}
