//===- Trace.h - a simulated step for trace viewers -------------*- C++ -*-===//
#pragma once

#include "compiler/Simulate/Simulate.h"

#include <cstdint>
#include <string>

namespace moe::report {

/// The timeline in the Chrome trace event format, which chrome://tracing and
/// ui.perfetto.dev open (docs/simulation.md says what is where). One process a
/// rank, one thread a lane and one for what it sends, memory counters by class,
/// arrows from sends to receives. Steps are called as the profiler labels of
/// torch.distributed.pipelining, e.g. "PP:3F1": stage 3, forward, microbatch
/// 1. Ops and memory inside programs are there as far as the timeline has them.
/// `timeline` must be of `plan`. Times are microseconds with three decimals;
/// what takes no time is left out.
std::string chromeTrace(const plan::Plan &plan,
                        const simulate::Timeline &timeline);

/// How many of the first microbatches can be shown in detail with at most
/// `events` ops altogether, at least one: for simulate::Options. The default
/// makes files of some 100 MB at most, which the viewers still open.
int64_t microbatchesForTrace(const plan::Plan &plan, int64_t events = 250'000);

/// "PP:3F1", "PP:3RECV_F1", "PP:(3F1;4B0)OVERLAP_F_B", "update": what a step is
/// called.
std::string traceLabel(const plan::Rank &rank, const plan::Step &step);

} // namespace moe::report
