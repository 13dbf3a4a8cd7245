//===- Executor.h - runs a plan on one rank ---------------------*- C++ -*-===//
//
// The plan decides everything: which op runs next, where each byte lies, when
// it is freed. The executor has no memory of its own for tensors and compares
// what lives with what the plan says, at every op and at every step.
//
// One thread, the caller's, issues all ops in the order of the plan and keeps
// account of the bytes in that order. It computes by itself what is on the
// compute stream; what is on another stream it hands to a thread of that
// stream, so that all go on at the same time as far as the plan's waits allow.
// Nothing of a program is under way when its step ends.
//
//===----------------------------------------------------------------------===//
#pragma once

#include "runtime/Exec/Dataset.h"
#include "runtime/Exec/LiveCheck.h"
#include "runtime/Exec/Parameters.h"
#include "runtime/Exec/StreamThread.h"
#include "runtime/Exec/Values.h"

#include <functional>
#include <memory>

namespace moe::exec {

class Executor;

struct ExecutorOptions {
  uint64_t seed = 1;
  int64_t threads = 1; ///< that compute, of this rank
  bool poison = false; ///< bytes that are not live hold NaN
  OptimizerOptions optimizer;
  /// Called in training step `gradientStep` when gradients are complete and
  /// neither clipped nor used.
  std::function<Status(Executor &)> onGradients;
  int64_t gradientStep = 1;
};

/// What all ranks agree on after a training step.
struct StepResult {
  double loss = 0;         ///< mean over all microbatches of all replicas
  double gradientNorm = 0; ///< before clipping; 0 when the plan has no update
  std::vector<int64_t> peakBytes; ///< so far, by world rank
};

class Executor {
public:
  /// Maps the arenas of a world rank. Everything given must outlive the
  /// executor, and the executor must live until every rank has returned from
  /// its last call, because peers read its arena.
  static Result<std::unique_ptr<Executor>>
  create(const Binding &binding, int64_t worldRank, comm::Transport &transport,
         const kernels::KernelTable &kernels, const Dataset &data,
         const ExecutorOptions &options);

  /// Makes the parameters.
  Status start();
  /// Runs all steps of the schedule once; `number` counts from 1. Afterwards
  /// nothing but the parameters lives.
  Result<StepResult> train(int64_t number);
  /// Compares the measured peak with the plan's.
  Status checkPeak() const { return check.comparePeak(); }

  const Peak &peak() const { return check.peak(); }
  Parameters &parameters() { return weights; }
  comm::Transport &transport() { return wire; }
  const comm::Coordinates &coordinates() const { return at; }
  const Binding &binding() const { return bound; }

private:
  Executor(const Binding &binding, int64_t worldRank, comm::Transport &wire,
           const kernels::KernelTable &kernels, const Dataset &data,
           const ExecutorOptions &options, Arena arena, Arena host);

  Status runStep(int64_t index, int64_t number);
  Status load(const plan::Step &step, int64_t number);
  Status receive(const plan::Step &step);
  Status send(const plan::Step &step);
  Status waitSend(const plan::Step &step);
  Status collectLoss(const plan::Step &step);
  Status update(int64_t number);

  // Execution.cpp: run and overlap.
  struct Member;
  struct Call;
  struct Mark;
  Status run(int64_t index);
  Status overlap(int64_t index);
  Result<Member> begin(const plan::Overlap::Member &what, int64_t microbatch,
                       int64_t slot);
  Status waitForInputs(const Member &member);
  /// Starts the member's next op, which waits for what the plan says, and for
  /// `waits` besides.
  Status issue(Member &member, const plan::ByteCounts &expected,
               std::vector<Mark> waits, int64_t index);
  /// Allocates what the op needs and compares what lives with `expected`.
  Result<std::shared_ptr<Call>> prepare(const Member &member, const BoundOp &op,
                                        const plan::ByteCounts &expected,
                                        int64_t index);
  Status compute(Call &call);
  /// Hands the call to the thread of its stream, behind `waits`; the number to
  /// wait for.
  Result<int64_t> handOver(const std::shared_ptr<Call> &call,
                           std::vector<Mark> waits);
  Status wait(const std::vector<Mark> &marks);
  Status joinStreams();
  Status invoke(const Call &call, const kernels::Parallel &threads);

  /// What lives now, in both arenas.
  plan::ByteCounts live() const;
  Result<StepResult> summarize();
  std::string describe(const plan::Step &step) const;

  const Binding &bound;
  comm::Coordinates at;
  const plan::Rank &rank;
  comm::Transport &wire;
  const kernels::KernelTable &kernels;
  const Dataset &data;
  const ExecutorOptions &options;
  ThreadPool pool;
  kernels::Parallel parallel;
  Arena arena, host;
  Values values;
  Parameters weights;
  LiveCheck check;
  comm::Group expertGroup, world;
  ExchangeBuffers buffers; ///< of the communication stream
  // Of the training step under way.
  std::vector<double> losses; ///< by microbatch
  double gradientNorm = 0;
  /// Of all streams but compute. Their tasks use the rest, and wait for tasks
  /// of each other.
  std::array<StreamThread, plan::kStreamCount> streams;
};

} // namespace moe::exec
