//===- moe-plan.cpp - plan the memory of a training run -------------------===//

#include "compiler/Export/Compare.h"
#include "compiler/Export/Explain.h"
#include "compiler/Export/Summary.h"
#include "compiler/Export/Table.h"
#include "compiler/Optimize/PolicyText.h"
#include "compiler/Schedule/Generators.h"
#include "driver/Arguments.h"
#include "driver/Driver.h"
#include "support/Files.h"
#include "tools/Validators.h"
#include "tools/moe-plan/Completion.h"
#include "tools/moe-plan/ConfigFile.h"
#include "tools/moe-plan/InputFiles.h"
#include "tools/moe-plan/Progress.h"
#include "tools/moe-plan/Simulate.h"
#include "tools/moe-plan/Sweep.h"
#include "tools/moe-plan/Verify.h"

#include <cstdio>
#include <iostream>
#include <memory>
#include <optional>

using namespace moe;

namespace {

enum ExitCode { success = 0, notProven = 1, badInput = 2, doesNotFit = 3 };

constexpr const char *kGenerator = "moe-plan " MOE_VERSION;

int fail(const Error &error) {
  std::cerr << "moe-plan: error: " << error.message << '\n';
  return badInput;
}

/// Makes CLI11 report a parser's own words.
template <typename T>
CLI::Validator checkedBy(Result<T> (*parser)(std::string_view)) {
  return CLI::Validator(
      [parser](std::string &text) {
        Result<T> parsed = parser(text);
        return parsed ? std::string() : parsed.error().message;
      },
      "");
}

struct Options {
  driver::PlanRequest request;
  std::string layout = "pp=1";
  std::string budget, capacity = "1.25", dtype = "bf16", output, shown;
  std::string config;    ///< the file that options were read from, if any
  std::string compared;  ///< with `shown`
  std::string explained; ///< a value of `shown`
  std::vector<std::string> recompute, offload;
  bool quiet = false;
};

/// What a plan is made of.
void declareInputs(CLI::App &app, Options &options) {
  driver::PlanRequest &request = options.request;
  app.add_option("--model", request.modelPath,
                 "Model: a Hugging Face config.json")
      ->type_name("FILE");
  app.add_option("--reduce", request.reductions,
                 "Make the model smaller, keeping its architecture, e.g. "
                 "layers=4,hidden=256,experts=8; recorded in the plan")
      ->type_name("KEY=N,...")
      ->check(notEmpty());
  app.add_option("--machine", request.machine,
                 "Machine: a name (h100-sxm, b200, ...) or a description file")
      ->capture_default_str();
  app.add_option("--profile", request.profile,
                 "Measured op times to calibrate the machine from "
                 "(docs/cost-model.md)")
      ->type_name("FILE")
      ->check(notEmpty());
  app.add_option("--layout", options.layout,
                 "Parallel groups: pp (pipeline), ep (experts), dp (data); tp "
                 "and cp must be 1")
      ->type_name("KEY=N,...")
      ->check(checkedBy(driver::parseLayout))
      ->capture_default_str();
  app.add_option("--microbatches", request.layout.microbatches,
                 "Microbatches of each expert- and data-parallel rank per step")
      ->check(CLI::Range(int64_t{1}, driver::kMostMicrobatches))
      ->capture_default_str();
  app.add_option("--microbatch-size", request.layout.microbatchSize,
                 "Sequences of a microbatch")
      ->check(CLI::Range(int64_t{1}, driver::kMostMicrobatchSize))
      ->capture_default_str();
  app.add_option("--seq", request.layout.sequenceLength, "Tokens of a sequence")
      ->check(CLI::Range(1, 100'000'000))
      ->default_val(4096);
  app.add_option("--schedule", request.schedule,
                 "Order of the steps: a name that moe-plan schedules lists; "
                 "auto: the shortest step found within the budget; or a .csv "
                 "of torch.distributed.pipelining")
      ->type_name("NAME|auto|FILE.csv")
      ->capture_default_str();
  app.add_option("--stages-per-rank", request.stagesPerRank,
                 "Stages on each pipeline rank; default: the schedule's own")
      ->check(CLI::Range(1, 1024));
  app.add_option("--placement", request.placement,
                 "Which ranks stages lie on: loop, v or bidirectional; "
                 "default: the schedule's own")
      ->check(CLI::IsMember({"loop", "v", "bidirectional"}));
  app.add_option("--partition", request.partition,
                 "Layers of each stage, e.g. 4,4,3,4; uniform: even shares; "
                 "auto: the cut that makes the step shortest within the budget")
      ->type_name("N,...|uniform|auto")
      ->check(notEmpty());
  app.add_option("--pin", request.pins,
                 "With --partition auto: where layers have to lie, e.g. "
                 "layers.0-2=stage0")
      ->type_name("LAYERS=STAGE,...")
      ->check(notEmpty());
  app.add_option("--group-size", request.groupSize,
                 "Interleaved schedules: microbatches that pass a stage before "
                 "the rank turns to its next; default: the number of ranks")
      ->check(CLI::Range(1, 16384));
  app.add_option("--pending-weight-grads", request.pendingWeightGrads,
                 "Schedules that go by costs: how many weight gradients of a "
                 "rank may wait while it begins another action: more fill more "
                 "of its pauses and hold more; default: any number, or what "
                 "makes the step shortest where something is left to the "
                 "planner")
      ->check(CLI::Range(0, 16384));
  app.add_option("--budget", options.budget,
                 "Device memory that may be used, e.g. 76GiB, the machine's "
                 "reserve included; default: all of it")
      ->type_name("SIZE")
      ->check(checkedBy(driver::parseBytes));
  app.add_option("--recompute", options.recompute,
                 "What is made again in the backward pass instead of kept: "
                 "targets (norm, moe_act, full, ...) or values, each with an "
                 "optional scope, e.g. norm,moe_act@layers.3-5,full@rank0 "
                 "(docs/recompute.md); may be repeated; auto: what makes the "
                 "step shortest within the budget")
      ->type_name("NAME[@SCOPE],...")
      ->check(notEmpty());
  app.add_flag("--recompute-keep-handles", request.keepHandles,
               "Recomputed dispatches send rows along the handle of the "
               "forward pass, which stays kept, instead of making a new one");
  app.add_option(
         "--offload", options.offload,
         "What waits on the host instead of the device: as --recompute, auto "
         "included; may be repeated. @leadN: with a lead of its own")
      ->type_name("NAME[@SCOPE][@leadN],...")
      ->check(notEmpty());
  app.add_option("--offload-lead", request.offloadLead,
                 "Layers before the one that needs it at which a value is "
                 "copied back from the host; 0: that one; --offload auto "
                 "chooses between that and this")
      ->check(CLI::Range(int64_t{0}, policy::kMostLead))
      ->capture_default_str();
  app.add_option_function<std::string>(
         "--effort",
         [&request](const std::string &text) {
           request.isExact = text == "exact";
         },
         "What the planner spends on what is left to it: fast; exact: every "
         "choice worth following, at budgets from this one down, and it says "
         "whether the result is certain (docs/planner.md)")
      ->check(CLI::IsMember({"fast", "exact"}))
      ->default_str("fast");
  app.add_flag("!--no-overwrite", request.overwrite,
               "Gradients do not take the bytes of what they are gradients "
               "of, to see what that saves");
  app.add_option("--dtype", options.dtype,
                 "Type of weights and activations: bf16, f32 or f64")
      ->check(CLI::IsMember({"bf16", "f32", "f64"}))
      ->capture_default_str();
  app.add_option("--capacity-factor", options.capacity,
                 "Rows behind a dispatch to plan memory for, as a multiple of "
                 "balanced routing, or max: all that routing can produce")
      ->type_name("FACTOR|max")
      ->check(checkedBy(driver::parseCapacityFactor))
      ->capture_default_str();
  app.add_option("--imbalance", request.imbalance,
                 "Rows behind a dispatch to estimate time for, as a multiple "
                 "of balanced routing")
      ->check(finite())
      ->check(CLI::Range(1.0, 1e6))
      ->capture_default_str();
  app.add_option_function<std::string>(
         "--mtp",
         [&request](const std::string &text) { request.mtp = text == "on"; },
         "Train the model's multi-token prediction modules, on the last "
         "pipeline rank: on or off")
      ->check(CLI::IsMember({"on", "off"}))
      ->default_str("off");
  app.add_option("--mtp-weight", request.mtpWeight,
                 "Weight of the modules' mean loss beside the main loss")
      ->check(finite())
      ->check(CLI::Range(1e-6, 1e6))
      ->capture_default_str();
  CLI::Option *freeze =
      app.add_option("--freeze", request.frozen,
                     "What is not trained: patterns of names of blocks or "
                     "parameters, e.g. embedding,layers.0-3 or "
                     "layers.*.moe.router")
          ->type_name("NAME,...")
          ->check(notEmpty());
  app.add_flag_callback(
         "--forward-only", [&request] { request.frozen = "*"; },
         "Plan an evaluation: losses only, nothing is kept or updated")
      ->excludes(freeze);
}

void declareOutputs(CLI::App &app, Options &options) {
  driver::PlanRequest &request = options.request;
  app.add_option("-o,--output", options.output, "Where to write the plan")
      ->type_name("FILE")
      ->check(notEmpty());
  app.add_option("--emit-ir", request.irPath,
                 "Where to write the final MLIR module")
      ->type_name("FILE")
      ->check(notEmpty());
  app.add_option("--emit-schedule", request.schedulePath,
                 "Where to write the schedule as a CSV of "
                 "torch.distributed.pipelining")
      ->type_name("FILE")
      ->check(notEmpty());
  app.add_option("--schedule-format", request.scheduleFormat,
                 "What that file holds: compute_only, or compute_comms with "
                 "sends and receives")
      ->check(CLI::IsMember({"compute_only", "compute_comms"}))
      ->needs("--emit-schedule")
      ->capture_default_str();
  app.add_option("--jobs", request.jobs,
                 "What is worked out at the same time, of ranks or of plans; "
                 "0: as many as the machine has threads, at most 16")
      ->capture_default_str()
      ->check(CLI::Range(0, 1024));
  app.add_flag("-q,--quiet", options.quiet, "Print no summary");
}

/// Turns texts into the request.
Status completeRequest(Options &options) {
  driver::PlanRequest &request = options.request;
  if (request.modelPath.empty())
    return Error{"--model is required (a Hugging Face config.json); see "
                 "moe-plan --help"};
  plan::Layout groups = *driver::parseLayout(options.layout);
  groups.microbatches = request.layout.microbatches;
  groups.microbatchSize = request.layout.microbatchSize;
  groups.sequenceLength = request.layout.sequenceLength;
  request.layout = groups;
  if (!options.budget.empty())
    request.budgetBytes = *driver::parseBytes(options.budget);
  request.capacityFactor = *driver::parseCapacityFactor(options.capacity);
  request.dtype = *parseDType(options.dtype);
  for (const std::string &list : options.recompute)
    request.recompute += (request.recompute.empty() ? "" : ",") + list;
  for (const std::string &list : options.offload)
    request.offload += (request.offload.empty() ? "" : ",") + list;
  request.generator = kGenerator;
  return {};
}

int makePlan(Options &options) {
  driver::PlanRequest &request = options.request;
  if (Status complete = completeRequest(options); !complete)
    return fail(complete.error());
  if (Status distinct =
          checkOutputs({{"--output", options.output},
                        {"--emit-ir", request.irPath},
                        {"--emit-schedule", request.schedulePath}},
                       inputFilesOf(request, options.config));
      !distinct)
    return fail(distinct.error());

  std::optional<Progress> progress;
  request.onProgress = [&](size_t done, size_t total, const std::string &what) {
    if (!progress)
      progress.emplace();
    progress->show(done, total, what);
  };
  Result<driver::PlanAnswer> answer = driver::makePlan(request);
  progress.reset();
  if (!answer)
    return fail(answer.error());
  for (const std::string &note : answer->notes)
    std::cerr << "moe-plan: note: " << note << '\n';
  if (!options.output.empty())
    if (Status written = plan::write(answer->plan, options.output); !written)
      return fail(written.error());
  if (!options.quiet) {
    std::cout << report::summarize(answer->plan);
    if (!options.output.empty())
      std::cout << "plan written to " << options.output << '\n';
  }
  return answer->plan.prediction.fits ? success : doesNotFit;
}

int showPlan(const std::string &path) {
  Result<plan::Plan> plan = plan::read(path);
  if (!plan)
    return fail(plan.error());
  std::cout << report::summarize(*plan);
  return plan->prediction.fits ? success : doesNotFit;
}

int explainPlan(const Options &options) {
  Result<plan::Plan> plan = plan::read(options.shown);
  if (!plan)
    return fail(plan.error());
  if (options.explained.empty()) {
    std::cout << report::explain(*plan);
    return success;
  }
  Result<std::string> text = report::explain(*plan, options.explained);
  if (!text)
    return fail(text.error());
  std::cout << *text;
  return success;
}

int comparePlans(const Options &options) {
  Result<plan::Plan> first = plan::read(options.shown);
  if (!first)
    return fail(first.error());
  Result<plan::Plan> second = plan::read(options.compared);
  if (!second)
    return fail(second.error());
  std::cout << "first   " << options.shown << "\nsecond  " << options.compared
            << "\n\n"
            << report::compare(*first, *second);
  return success;
}

int listSchedules() {
  report::Table table;
  for (const char *heading : {"schedule", "stages", "placement"})
    table.addColumn(heading, report::Table::Align::left);
  table.addColumn("order", report::Table::Align::left);
  for (const schedule::GeneratorInfo &generator : schedule::generators())
    table.addRow({std::string(generator.name),
                  std::to_string(generator.stagesPerRank),
                  std::string(schedule::name(generator.placement)),
                  std::string(generator.summary) + " (" +
                      std::string(generator.source) + ")"});
  std::cout << table.print(0, 100)
            << "\nstages: on each pipeline rank, unless --stages-per-rank says "
               "otherwise.\nauto searches for an order of its own as well.\n";
  return success;
}

int run(int argc, char **argv) {
  CLI::App app(
      "Plans the memory of a mixture-of-experts training run: what "
      "lies where on every pipeline rank, and whether it fits.\n"
      "Exit status: 0 the plan fits; 2 bad input; 3 the plan does not "
      "fit the budget, of sweep no plan fits; of verify, 1 the plan is "
      "not proven.\n",
      "moe-plan");
  app.set_version_flag("--version", kGenerator);
  Options options;
  declareInputs(app, options);
  declareOutputs(app, options);
  CLI::App *show = app.add_subcommand("show", "Print the summary of a plan");
  show->add_option("plan", options.shown, "The plan to read")
      ->type_name("FILE")
      ->required();
  CLI::App *explanation = app.add_subcommand(
      "explain", "Say why values are kept, recomputed or offloaded");
  explanation->add_option("plan", options.shown, "The plan to read")
      ->type_name("FILE")
      ->required();
  explanation
      ->add_option("value", options.explained,
                   "A value, e.g. layers.3.moe.experts.act or, for all layers, "
                   "moe.experts.act; default: what was decided")
      ->type_name("NAME");
  CLI::App *comparison =
      app.add_subcommand("compare", "Print in what two plans differ");
  for (auto [name, path, what] :
       {std::tuple("first", &options.shown, "A plan"),
        std::tuple("second", &options.compared, "The plan beside it")})
    comparison->add_option(name, *path, what)->type_name("FILE")->required();
  CLI::App *schedules =
      app.add_subcommand("schedules", "List the schedules and their sources");
  SweepOptions swept;
  CLI::App *sweep = declareSweep(app, swept);
  declareInputs(*sweep, options);
  SimulateOptions simulated;
  CLI::App *simulation = declareSimulate(app, simulated);
  VerifyOptions verified;
  CLI::App *verification = declareVerify(app, verified);
  CLI::App *completion = app.add_subcommand(
      "completion", "Print a script that completes moe-plan's options in bash: "
                    "eval \"$(moe-plan completion)\"");
  CLI::Option *config =
      app.set_config("--config", "", "Read options from a TOML file", false)
          ->type_name("FILE");
  // The same behind the command's name. CLI11 reads the file once all is
  // parsed.
  sweep
      ->add_option_function<std::string>(
          "--config",
          [config](const std::string &path) { config->add_result(path); },
          config->get_description())
      ->type_name("FILE")
      ->trigger_on_parse()
      ->configurable(false);
  app.config_formatter(std::make_shared<ConfigFile>(app));
  app.get_formatter()->column_width(34);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError &error) {
    int code = app.exit(error);
    return code == 0 ? success : badInput;
  }
  if (config->count() > 0)
    options.config = config->as<std::string>();
  if (schedules->parsed())
    return listSchedules();
  if (completion->parsed()) {
    std::cout << bashCompletion(app);
    return success;
  }
  if (explanation->parsed())
    return explainPlan(options);
  if (comparison->parsed())
    return comparePlans(options);
  if (sweep->parsed()) {
    if (Status ready = checkAlternatives(app, *sweep); !ready)
      return fail(ready.error());
    if (Status complete = completeRequest(options); !complete)
      return fail(complete.error());
    Result<bool> fits = runSweep(swept, options.request, options.config);
    if (!fits)
      return fail(fits.error());
    return *fits ? success : doesNotFit;
  }
  if (simulation->parsed()) {
    Status done = runSimulate(simulated);
    return done ? success : fail(done.error());
  }
  if (verification->parsed()) {
    Result<bool> holds = runVerify(verified);
    if (!holds)
      return fail(holds.error());
    return *holds ? success : notProven;
  }
  return show->parsed() ? showPlan(options.shown) : makePlan(options);
}

} // namespace

int main(int argc, char **argv) {
  int code = run(argc, argv);
  if (Status flushed = flushStandardOutput(); !flushed)
    return fail(flushed.error());
  return code;
}
