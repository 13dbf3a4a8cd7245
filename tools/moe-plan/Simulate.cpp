#include "tools/moe-plan/Simulate.h"

#include "compiler/Export/Report.h"
#include "compiler/Export/SummaryTimeline.h"
#include "compiler/Export/Trace.h"
#include "compiler/Simulate/Simulate.h"
#include "support/Files.h"
#include "tools/Validators.h"

#include <iostream>

namespace moe {

namespace {

Status writeTrace(const plan::Plan &plan, const SimulateOptions &options) {
  simulate::Options detail;
  detail.detail = true;
  detail.detailMicrobatches = options.traceMicrobatches > 0
                                  ? options.traceMicrobatches
                                  : report::microbatchesForTrace(plan);
  Result<simulate::Timeline> timeline = simulate::simulate(plan, detail);
  if (!timeline)
    return timeline.error();
  MOE_RETURN_IF_ERROR(
      writeFile(options.trace, report::chromeTrace(plan, *timeline)));
  if (options.quiet)
    return {};
  std::cout << "trace written to " << options.trace;
  if (detail.detailMicrobatches < plan.layout.microbatches)
    std::cout << ", with the ops of the first " << detail.detailMicrobatches
              << " of " << plan.layout.microbatches
              << " microbatches (--trace-microbatches)";
  std::cout << "; open it in ui.perfetto.dev or chrome://tracing\n";
  return {};
}

} // namespace

CLI::App *declareSimulate(CLI::App &app, SimulateOptions &options) {
  CLI::App *command = app.add_subcommand(
      "simulate", "Execute a plan in estimated time: what every rank does "
                  "when, and what the step time consists of");
  command->add_option("plan", options.plan, "The plan to read")
      ->type_name("FILE")
      ->required();
  command
      ->add_option("--trace", options.trace,
                   "Write a trace for ui.perfetto.dev or chrome://tracing: a "
                   "process a rank, a thread a stream, memory by class, arrows "
                   "for messages")
      ->type_name("FILE")
      ->check(notEmpty());
  command
      ->add_option("--trace-microbatches", options.traceMicrobatches,
                   "Show ops and their memory for the first N microbatches "
                   "only; steps and messages are there for all. Default: as "
                   "many as give 250,000 ops, some 100 MB")
      ->type_name("N")
      ->check(CLI::Range(1, 1'000'000))
      ->needs("--trace");
  command
      ->add_option("--report", options.report,
                   "Write one HTML page: the pipeline down to ops, memory over "
                   "time, ranks, critical path, decisions")
      ->type_name("FILE")
      ->check(notEmpty());
  command
      ->add_option("--json", options.json,
                   "Write the figures and the critical path as JSON")
      ->type_name("FILE")
      ->check(notEmpty());
  command->add_flag("-q,--quiet", options.quiet, "Print nothing");
  return command;
}

Status runSimulate(const SimulateOptions &options) {
  MOE_RETURN_IF_ERROR(checkOutputs({{"--trace", options.trace},
                                    {"--report", options.report},
                                    {"--json", options.json}},
                                   {{"the plan", options.plan}}));
  Result<plan::Plan> plan = plan::read(options.plan);
  if (!plan)
    return plan.error();
  Result<simulate::Timeline> timeline = simulate::simulate(*plan);
  if (!timeline)
    return Error{options.plan + ": " + timeline.error().message};
  if (!options.quiet)
    std::cout << report::summarizeTimeline(*plan, *timeline);
  if (!options.json.empty())
    MOE_RETURN_IF_ERROR(
        writeFile(options.json, report::printTimeline(*plan, *timeline)));
  if (!options.report.empty()) {
    Result<std::string> page = report::htmlReport(*plan, *timeline);
    if (!page)
      return Error{options.plan + ": " + page.error().message};
    MOE_RETURN_IF_ERROR(writeFile(options.report, *page));
    if (!options.quiet)
      std::cout << "report written to " << options.report << '\n';
  }
  if (!options.trace.empty())
    MOE_RETURN_IF_ERROR(writeTrace(*plan, options));
  return {};
}

} // namespace moe
