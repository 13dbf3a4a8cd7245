//===- Parallel.h - independent things at the same time ---------*- C++ -*-===//
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>

namespace moe {

/// What runs at the same time where nobody says how much: as many threads as
/// the machine has, at most 16, since each thing takes memory of its own.
size_t defaultJobs();
/// `asked`, or where that is 0, defaultJobs().
size_t jobsOrDefault(int64_t asked);

/// Calls `task` with each number below `count`, up to `jobs` (1 or more) of
/// them at the same time and in no fixed order; the tasks share nothing that
/// one of them changes. `onDone`, if there is one, is told how many are done,
/// one call at a time. Returns when all are.
void inParallel(size_t count, size_t jobs,
                const std::function<void(size_t)> &task,
                const std::function<void(size_t)> &onDone = {});

} // namespace moe
