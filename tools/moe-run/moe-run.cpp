//===- moe-run.cpp - executes a plan --------------------------------------===//

#include "runtime/Exec/Run.h"
#include "support/Files.h"
#include "support/Words.h"
#include "tools/Validators.h"

#include <nlohmann/json.hpp>

#include <cstdio>
#include <filesystem>
#include <fstream>

#include <unistd.h>

using namespace moe;

namespace {

enum ExitCode { kDone = 0, kFailed = 1, kBadInput = 2 };

struct Arguments {
  std::string plan, data, log;
  bool dryRun = false;
  double deadlineSeconds = 60;
  exec::RunOptions run;
};

int fail(ExitCode code, const std::string &message) {
  std::fflush(stdout);
  std::fprintf(stderr, "moe-run: error: %s\n", message.c_str());
  return code;
}

void addOptions(CLI::App &app, Arguments &arguments) {
  exec::ExecutorOptions &executor = arguments.run.executor;
  exec::OptimizerOptions &optimizer = executor.optimizer;
  app.add_option("plan", arguments.plan, "The plan, as moe-plan wrote it")
      ->required();
  app.add_option("--data", arguments.data,
                 "File to train on; its bytes are the tokens");
  app.add_option("--steps", arguments.run.steps, "Training steps")
      ->check(CLI::Range(int64_t{1}, int64_t{1} << 40))
      ->capture_default_str();
  app.add_flag("--dry-run", arguments.dryRun,
               "Check that the plan can be executed, and stop");

  const char *training = "Training";
  app.add_option("--seed", executor.seed, "Seed of the initial weights")
      ->capture_default_str()
      ->group(training);
  app.add_option("--lr", optimizer.learningRate, "Learning rate of AdamW")
      ->check(finite())
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str()
      ->group(training);
  app.add_option("--warmup", optimizer.warmupSteps,
                 "Steps in which the learning rate rises linearly")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str()
      ->group(training);
  app.add_option("--beta1", optimizer.beta1, "Decay of the first moment")
      ->check(finite())
      ->check(CLI::Range(0.0, 0.9999999))
      ->capture_default_str()
      ->group(training);
  app.add_option("--beta2", optimizer.beta2, "Decay of the second moment")
      ->check(finite())
      ->check(CLI::Range(0.0, 0.9999999))
      ->capture_default_str()
      ->group(training);
  app.add_option("--weight-decay", optimizer.weightDecay,
                 "Weight decay, of the parameters that the plan marks")
      ->check(finite())
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str()
      ->group(training);
  app.add_option("--clip", optimizer.clip,
                 "Largest gradient norm; 0: gradients are not clipped")
      ->check(finite())
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str()
      ->group(training);

  const char *execution = "Execution";
  app.add_option("--threads", executor.threads,
                 "Threads of each rank that compute; one more runs its "
                 "expert communication")
      ->check(CLI::Range(1, 1024))
      ->capture_default_str()
      ->group(execution);
  app.add_flag("--poison", executor.poison,
               "Fill bytes that are not live with NaN; results do not change")
      ->group(execution);
  app.add_option("--deadline", arguments.deadlineSeconds,
                 "Seconds after which a rank gives up waiting for another")
      ->check(finite())
      ->check(CLI::Range(0.001, 1e6))
      ->capture_default_str()
      ->group(execution);

  const char *output = "Output";
  app.add_option("--json", arguments.log, "Also log each step to a JSONL file")
      ->check(notEmpty())
      ->group(output);
  app.add_option("--dump-parameters", arguments.run.dumpParameters,
                 "Directory for the weights before the dumped step, one "
                 "NAME.npy each, and its tokens.npy and labels.npy "
                 "(labels_2.npy, ...)")
      ->check(notEmpty())
      ->group(output);
  app.add_option("--dump-gradients", arguments.run.dumpGradients,
                 "Directory for the gradients of the dumped step, summed over "
                 "ranks and not clipped")
      ->check(notEmpty())
      ->group(output);
  app.add_option("--dump-step", arguments.run.dumpStep,
                 "The step that is dumped, from 1 to --steps")
      ->check(CLI::Range(int64_t(1), int64_t(1) << 40))
      ->capture_default_str()
      ->group(output);

  app.footer("Exit codes: 0 all steps were run and memory was as planned; "
             "1 the run failed;\n2 bad usage, plan or data.");
}

Status makeDirectory(const std::string &path) {
  std::error_code code;
  std::filesystem::create_directories(path, code);
  if (code)
    return Error{"cannot create directory '" + path + "': " + code.message()};
  return {};
}

std::string mebibytes(int64_t bytes) {
  char text[32];
  std::snprintf(text, sizeof(text), "%.2f",
                static_cast<double>(bytes) / (1 << 20));
  return text;
}

void printStep(const exec::StepReport &report) {
  int64_t largest = 0;
  std::string each;
  for (int64_t bytes : report.peakBytes) {
    largest = std::max(largest, bytes);
    each += (each.empty() ? "" : " ") + mebibytes(bytes);
  }
  char norm[64] = "";
  if (report.updates)
    std::snprintf(norm, sizeof(norm), "  grad_norm %.6f", report.gradientNorm);
  std::printf("step %lld  loss %.6f%s  tokens/s %.0f  peak %s MiB (by pipeline "
              "rank: %s)\n",
              static_cast<long long>(report.step), report.loss, norm,
              report.tokensPerSecond, mebibytes(largest).c_str(), each.c_str());
  std::fflush(stdout);
}

std::string asJson(const exec::StepReport &report) {
  nlohmann::ordered_json line;
  line["step"] = report.step;
  line["loss"] = report.loss;
  if (report.updates) {
    line["gradient_norm"] = report.gradientNorm;
    line["learning_rate"] = report.learningRate;
  }
  line["seconds"] = report.seconds;
  line["tokens_per_second"] = report.tokensPerSecond;
  line["peak_bytes"] = report.peakBytes;
  return line.dump();
}

/// All ranks share this machine's memory. Pages are only reserved at first, so
/// a plan that is too large would start and be killed later.
Status checkMemory(const exec::Binding &binding) {
  double needed = 0;
  for (const plan::Rank &rank : binding.plan().ranks)
    needed += static_cast<double>(rank.arenaBytes) *
              static_cast<double>(binding.topology().replicas());
  double present = static_cast<double>(sysconf(_SC_PHYS_PAGES)) *
                   static_cast<double>(sysconf(_SC_PAGESIZE));
  if (needed <= present)
    return {};
  char text[200];
  std::snprintf(text, sizeof(text),
                "the arenas of all %lld ranks take %.1f GiB and this machine "
                "has %.1f GiB; plan a smaller model (moe-plan --reduce) or "
                "fewer ranks",
                static_cast<long long>(binding.topology().size()),
                needed / 0x1p30, present / 0x1p30);
  return Error{text};
}

int train(const exec::Binding &binding, Arguments &arguments) {
  if (Status enough = checkMemory(binding); !enough)
    return fail(kBadInput, enough.error().message);
  if (arguments.run.dumpStep > arguments.run.steps)
    return fail(kBadInput,
                "--dump-step is " + std::to_string(arguments.run.dumpStep) +
                    " of --steps " + std::to_string(arguments.run.steps));
  Result<exec::Dataset> data =
      exec::Dataset::read(arguments.data, binding.plan().layout.sequenceLength,
                          binding.furthestShift());
  if (!data)
    return fail(kBadInput, data.error().message);
  for (const std::string &directory :
       {arguments.run.dumpParameters, arguments.run.dumpGradients})
    if (!directory.empty())
      if (Status status = makeDirectory(directory); !status)
        return fail(kBadInput, status.error().message);
  std::ofstream log;
  if (!arguments.log.empty()) {
    log.open(arguments.log, std::ios::trunc);
    if (!log)
      return fail(kBadInput, "cannot create '" + arguments.log + "'");
  }
  arguments.run.onStep = [&](const exec::StepReport &report) {
    printStep(report);
    if (log.is_open())
      log << asJson(report) << std::endl;
  };
  Result<exec::RunReport> report = exec::run(binding, *data, arguments.run);
  if (!report)
    return fail(kFailed, report.error().message);
  if (log.is_open() && !log.flush())
    return fail(kFailed, "cannot write '" + arguments.log + "'");
  std::printf(
      "%s: live bytes were as planned at every op, and so was "
      "every peak\n",
      counted(static_cast<int64_t>(report->peaks.size()), "rank").c_str());
  return kDone;
}

int run(int argc, char **argv) {
  CLI::App app{
      "Executes a plan on the CPU: every rank of the layout has a "
      "thread of this process\nfor each stream, and one arena of the "
      "planned size. At every op the live bytes are\ncompared with the "
      "plan."};
  app.name("moe-run");
  Arguments arguments;
  addOptions(app, arguments);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError &error) {
    return app.exit(error) == 0 ? kDone : kBadInput;
  }
  arguments.run.deadline = std::chrono::milliseconds(
      static_cast<int64_t>(arguments.deadlineSeconds * 1000));

  if (Status distinct = checkOutputs(
          {{"--json", arguments.log}},
          {{"the plan", arguments.plan}, {"--data", arguments.data}});
      !distinct)
    return fail(kBadInput, distinct.error().message);
  Result<plan::Plan> plan = plan::read(arguments.plan);
  if (!plan)
    return fail(kBadInput, plan.error().message);
  Result<exec::Binding> binding = exec::Binding::create(*plan);
  if (!binding)
    return fail(kBadInput, binding.error().message);
  if (arguments.dryRun) {
    std::printf("%s: %s can execute it\n", arguments.plan.c_str(),
                counted(binding->topology().size(), "rank").c_str());
    return kDone;
  }
  if (arguments.data.empty())
    return fail(kBadInput, "--data is required to train");
  return train(*binding, arguments);
}

} // namespace

int main(int argc, char **argv) {
  int code = run(argc, argv);
  if (Status flushed = flushStandardOutput(); !flushed)
    return fail(code == kDone ? kFailed : static_cast<ExitCode>(code),
                flushed.error().message);
  return code;
}
