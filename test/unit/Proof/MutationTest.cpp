//===- MutationTest.cpp - no small change of a plan goes unnoticed --------===//
//
// Good plans of several schedules are changed in one place: a release, a wait,
// an edge, an offset, a slot, a step or an op is deleted or moved. A mutant is
// caught when the proof rejects it, or when the runtime refuses to execute it.
// One that survives has to mean the same: executed with poisoned memory, its
// losses and all gradients are equal to the bit, or, where it adds the
// gradients of microbatches in another order, up to rounding. docs/proof.md
// explains which survive.
//
//===----------------------------------------------------------------------===//

#include "driver/Driver.h"
#include "runtime/Exec/Run.h"
#include "runtime/Plan/Proof.h"
#include "test/unit/Proof/PlanEdits.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <map>
#include <mutex>
#include <random>

using namespace moe;
using namespace moe::plan;

namespace {

//===----------------------------------------------------------------------===//
// Mutations
//===----------------------------------------------------------------------===//

/// Draws places in a plan.
class Dice {
public:
  explicit Dice(uint32_t seed) : random(seed) {}
  /// One of 0 to `count` - 1.
  size_t draw(size_t count) { return random() % count; }
  template <typename T> T &of(std::vector<T> &list) {
    return list[draw(list.size())];
  }
  Program &program(Plan &plan) { return of(of(plan.stages).programs); }
  /// A program that has an op for which `holds`, and the index of one.
  std::pair<Program *, size_t> op(Plan &plan, bool (*holds)(const Op &)) {
    for (;;) {
      Program &candidate = program(plan);
      std::vector<size_t> found;
      for (size_t i = 0; i < candidate.ops.size(); ++i)
        if (holds(candidate.ops[i]))
          found.push_back(i);
      if (!found.empty())
        return {&candidate, of(found)};
    }
  }

private:
  std::mt19937 random;
};

bool isAny(const Op &) { return true; }
bool hasReleases(const Op &op) { return !op.releases.empty(); }
bool hasWaits(const Op &op) { return !op.waits.empty(); }
bool hasScratch(const Op &op) { return op.scratchBytes > 0; }

struct Mutation {
  const char *name;
  void (*apply)(Plan &, Dice &);
};

void moveRelease(Plan &plan, Dice &dice, bool later) {
  auto [program, from] = dice.op(plan, hasReleases);
  size_t to = later ? from + 1 + dice.draw(program->ops.size() - from)
                    : (from > 0 ? dice.draw(from) : 0);
  if (to >= program->ops.size())
    to = program->ops.size() - 1;
  std::vector<ValueIndex> &releases = program->ops[from].releases;
  size_t which = dice.draw(releases.size());
  ValueIndex moved = releases[which];
  releases.erase(releases.begin() + static_cast<std::ptrdiff_t>(which));
  program->ops[to].releases.push_back(moved);
}

const Mutation kMutations[] = {
    {"delete a release",
     [](Plan &plan, Dice &dice) {
       auto [program, i] = dice.op(plan, hasReleases);
       std::vector<ValueIndex> &releases = program->ops[i].releases;
       releases.erase(releases.begin() +
                      static_cast<std::ptrdiff_t>(dice.draw(releases.size())));
     }},
    {"release twice",
     [](Plan &plan, Dice &dice) {
       auto [program, i] = dice.op(plan, hasReleases);
       ValueIndex released = dice.of(program->ops[i].releases);
       dice.of(program->ops).releases.push_back(released);
     }},
    {"release earlier",
     [](Plan &plan, Dice &dice) { moveRelease(plan, dice, false); }},
    {"release later",
     [](Plan &plan, Dice &dice) { moveRelease(plan, dice, true); }},
    {"delete a wait of an op",
     [](Plan &plan, Dice &dice) {
       auto [program, i] = dice.op(plan, hasWaits);
       program->ops[i].waits.clear();
     }},
    {"wait for an earlier op",
     [](Plan &plan, Dice &dice) {
       auto [program, i] = dice.op(plan, hasWaits);
       int64_t &wait = program->ops[i].waits.front();
       Stream stream = program->ops[static_cast<size_t>(wait)].stream;
       std::vector<int64_t> earlier;
       for (int64_t o = 0; o < wait; ++o)
         if (program->ops[static_cast<size_t>(o)].stream == stream)
           earlier.push_back(o);
       if (!earlier.empty())
         wait = dice.of(earlier);
     }},
    {"move a wait to the next op",
     [](Plan &plan, Dice &dice) {
       auto [program, i] = dice.op(plan, hasWaits);
       for (size_t o = i + 1; o < program->ops.size(); ++o)
         if (program->ops[o].stream == program->ops[i].stream &&
             program->ops[o].waits.empty()) {
           std::swap(program->ops[o].waits, program->ops[i].waits);
           return;
         }
     }},
    {"delete a wait of an overlap",
     [](Plan &plan, Dice &dice) {
       std::vector<Overlap::Wait> *waits = nullptr;
       for (Rank &rank : plan.ranks)
         for (Overlap &overlap : rank.overlaps)
           if (!overlap.waits.empty() && (!waits || dice.draw(2)))
             waits = &overlap.waits;
       if (waits)
         waits->erase(waits->begin() +
                      static_cast<std::ptrdiff_t>(dice.draw(waits->size())));
     }},
    {"swap two ops of an overlap",
     [](Plan &plan, Dice &dice) {
       Rank &rank = dice.of(plan.ranks);
       if (rank.overlaps.empty())
         return;
       std::vector<int64_t> &order = dice.of(rank.overlaps).order;
       size_t at = dice.draw(order.size() - 1);
       std::swap(order[at], order[at + 1]);
     }},
    {"move a value",
     [](Plan &plan, Dice &dice) {
       Stage &stage = dice.of(plan.stages);
       Value &value = dice.of(stage.values);
       Value &other = dice.of(stage.values);
       if (other.placement == value.placement)
         value.offset = other.offset;
     }},
    {"move a value a little",
     [](Plan &plan, Dice &dice) {
       Value &value = dice.of(dice.of(plan.stages).values);
       value.offset += kAlignment * (dice.draw(2) ? 1 : -1);
     }},
    {"overwrite another value",
     [](Plan &plan, Dice &dice) {
       Stage &stage = dice.of(plan.stages);
       size_t index = dice.draw(stage.values.size());
       size_t over = dice.draw(index + 1);
       Value &value = stage.values[index];
       if (over == index)
         return;
       value.overwrites = static_cast<ValueIndex>(over);
       value.placement = stage.values[over].placement;
       value.group = stage.values[over].group;
       value.offset = stage.values[over].offset;
     }},
    {"overwrite nothing",
     [](Plan &plan, Dice &dice) {
       std::vector<Value *> all;
       for (Stage &stage : plan.stages)
         for (Value &value : stage.values)
           if (value.overwrites != -1)
             all.push_back(&value);
       if (!all.empty())
         dice.of(all)->overwrites = -1;
     }},
    {"move a scratch",
     [](Plan &plan, Dice &dice) {
       auto [program, i] = dice.op(plan, hasScratch);
       program->ops[i].scratchOffset +=
           kAlignment * (static_cast<int64_t>(dice.draw(41)) - 20);
     }},
    {"move a parameter",
     [](Plan &plan, Dice &dice) {
       Stage &stage = dice.of(plan.stages);
       Parameter &parameter = dice.of(stage.parameters);
       int64_t *offsets[] = {&parameter.weightOffset, &parameter.gradientOffset,
                             &parameter.firstMomentOffset};
       int64_t &offset = *offsets[dice.draw(3)];
       if (offset >= 0)
         offset += kAlignment * (dice.draw(2) ? 1 : -1);
     }},
    {"another slot",
     [](Plan &plan, Dice &dice) {
       Step &step = dice.of(dice.of(plan.ranks).steps);
       if (step.slot >= 0)
         step.slot = static_cast<int64_t>(dice.draw(
             plan.stages[static_cast<size_t>(step.stage)].slots.size()));
     }},
    {"delete a step",
     [](Plan &plan, Dice &dice) {
       std::vector<Step> &steps = dice.of(plan.ranks).steps;
       steps.erase(steps.begin() +
                   static_cast<std::ptrdiff_t>(dice.draw(steps.size())));
     }},
    {"swap two steps",
     [](Plan &plan, Dice &dice) {
       std::vector<Step> &steps = dice.of(plan.ranks).steps;
       size_t at = dice.draw(steps.size() - 1);
       std::swap(steps[at], steps[at + 1]);
     }},
    {"move a step far",
     [](Plan &plan, Dice &dice) {
       std::vector<Step> &steps = dice.of(plan.ranks).steps;
       auto from = static_cast<std::ptrdiff_t>(dice.draw(steps.size()));
       Step moved = steps[static_cast<size_t>(from)];
       steps.erase(steps.begin() + from);
       steps.insert(steps.begin() +
                        static_cast<std::ptrdiff_t>(dice.draw(steps.size())),
                    moved);
     }},
    {"another microbatch",
     [](Plan &plan, Dice &dice) {
       Step &step = dice.of(dice.of(plan.ranks).steps);
       if (isOfMicrobatch(step.kind))
         step.microbatch = static_cast<int64_t>(
             dice.draw(static_cast<size_t>(plan.layout.microbatches)));
     }},
    {"swap two ops",
     [](Plan &plan, Dice &dice) {
       auto [program, i] = dice.op(plan, isAny);
       if (i + 1 < program->ops.size())
         std::swap(program->ops[i], program->ops[i + 1]);
     }},
    {"another stream",
     [](Plan &plan, Dice &dice) {
       auto [program, i] = dice.op(plan, isAny);
       program->ops[i].stream = static_cast<Stream>(dice.draw(kStreamCount));
     }},
};

//===----------------------------------------------------------------------===//
// Good plans and what they compute
//===----------------------------------------------------------------------===//

struct Subject {
  const char *schedule;
  int64_t pipeline, layers, microbatches;
  const char *frozen;
  const char *recompute = "";
  const char *offload = "";
  /// Plans for a budget of nothing: bytes are handed out in issue order, and
  /// waits between the members of an overlap have to cover it.
  bool tight = false;
};

constexpr Subject kSubjects[] = {
    {"1f1b", 2, 4, 3, ""},
    {"zb-h1", 2, 4, 3, ""},
    {"zb-v", 2, 4, 4, ""},
    {"dualpipe-v", 2, 4, 4, ""},
    {"interleaved", 2, 4, 4, ""},
    {"1f1b", 2, 4, 3, "*"},
    {"dualpipe-v", 2, 4, 4, "embedding,layers.0"},
    {"1f1b", 2, 4, 3, "", "full"},
    {"zb-h1", 2, 4, 3, "", "norm", "moe_act,core_attn"},
    {"dualpipe-v", 2, 4, 4, "", "full", "", true},
};

Plan makePlan(const Subject &subject) {
  driver::PlanRequest request;
  request.modelPath = "examples/models/qwen3-30b-a3b.json";
  request.reductions =
      "layers=" + std::to_string(subject.layers) +
      ",hidden=8,vocabulary=256,heads=2,kv_heads=1,head_dim=4,experts=4,"
      "top_k=2,moe_intermediate=4";
  request.layout.pipeline = subject.pipeline;
  request.layout.expert = 2;
  request.layout.microbatches = subject.microbatches;
  request.layout.sequenceLength = 6;
  request.capacityFactor = 0;
  request.schedule = subject.schedule;
  request.frozen = subject.frozen;
  request.recompute = subject.recompute;
  request.offload = subject.offload;
  request.budgetBytes = subject.tight ? 1 : 0;
  request.dtype = DType::f32;
  request.generator = "mutation_test";
  Result<driver::PlanAnswer> answer = driver::makePlan(request);
  EXPECT_TRUE(answer) << answer.error().message;
  return answer ? std::move(answer->plan) : Plan();
}

/// Losses of two steps, and the gradients of the second by rank and name.
struct Outcome {
  std::string error; ///< empty: it ran
  std::vector<double> losses;
  std::map<std::pair<int64_t, std::string>, std::string> gradients;
  bool operator==(const Outcome &) const = default;
};

Outcome execute(const Plan &plan) {
  Outcome outcome;
  Result<exec::Binding> binding = exec::Binding::create(plan);
  if (!binding) {
    outcome.error = binding.error().message;
    return outcome;
  }
  std::mt19937 random(7);
  std::vector<uint8_t> bytes(512);
  for (uint8_t &byte : bytes)
    byte = static_cast<uint8_t>('a' + random() % 26);
  Result<exec::Dataset> data = exec::Dataset::fromBytes(
      bytes, plan.layout.sequenceLength, "letters", binding->furthestShift());
  EXPECT_TRUE(data);
  std::mutex mutex;
  exec::RunOptions run;
  run.steps = 2;
  run.dumpStep = 2;
  run.executor.poison = true;
  run.executor.onGradients = [&](exec::Executor &executor) -> Status {
    std::lock_guard<std::mutex> lock(mutex);
    for (const auto &entry : executor.parameters().entries())
      if (entry.gradient.present())
        outcome
            .gradients[{
                executor.binding().topology().rank(executor.coordinates()),
                entry.parameter->name}]
            .assign(entry.gradient.as<char>(),
                    static_cast<size_t>(entry.gradient.elements() *
                                        byteSize(entry.gradient.dtype)));
    return {};
  };
  Result<exec::RunReport> report = exec::run(*binding, *data, run);
  if (!report) {
    outcome.error = report.error().message;
    return outcome;
  }
  for (const exec::StepReport &step : report->steps)
    outcome.losses.push_back(step.loss);
  return outcome;
}

/// By rank and stage, the order in which microbatches add their gradients.
std::map<std::pair<int64_t, int64_t>, std::vector<int64_t>>
additions(const Plan &plan) {
  std::map<std::pair<int64_t, int64_t>, std::vector<int64_t>> order;
  for (const Rank &rank : plan.ranks)
    for (const Step &step : rank.steps) {
      auto note = [&](int64_t stage, Phase phase, int64_t microbatch) {
        if (phase == Phase::backward || phase == Phase::weight_grad)
          order[{rank.rank, stage}].push_back(microbatch);
      };
      if (step.kind == StepKind::run)
        note(step.stage, step.phase, step.microbatch);
      if (step.kind == StepKind::overlap)
        for (size_t m : {0, 1}) {
          const auto &[stage, phase] =
              rank.overlaps[static_cast<size_t>(step.overlap)].members[m];
          note(stage, phase, m ? step.secondMicrobatch : step.microbatch);
        }
    }
  return order;
}

/// Whether two outcomes differ by no more than the rounding of sums.
bool isNear(const Outcome &a, const Outcome &b) {
  if (a.error != b.error || a.losses.size() != b.losses.size() ||
      a.gradients.size() != b.gradients.size())
    return false;
  for (size_t i = 0; i < a.losses.size(); ++i)
    if (std::abs(a.losses[i] - b.losses[i]) > 1e-4 * std::abs(b.losses[i]))
      return false;
  for (const auto &[name, bytes] : a.gradients) {
    auto found = b.gradients.find(name);
    if (found == b.gradients.end() || found->second.size() != bytes.size())
      return false;
    std::vector<float> x(bytes.size() / 4), y(bytes.size() / 4);
    std::memcpy(x.data(), bytes.data(), bytes.size());
    std::memcpy(y.data(), found->second.data(), bytes.size());
    float largest = 0;
    for (float element : y)
      largest = std::max(largest, std::abs(element));
    for (size_t i = 0; i < x.size(); ++i)
      if (!(std::abs(x[i] - y[i]) <= 1e-3f * largest))
        return false;
  }
  return true;
}

struct Tally {
  int64_t mutants = 0, proof = 0, runtime = 0, survivors = 0;
  int64_t reordered = 0; ///< survivors that add microbatches in another order
};

} // namespace

TEST(Mutations, AreCaughtOrMeanTheSame) {
  constexpr int64_t kRounds = 16; // of each mutation on each plan
  std::map<std::string, Tally> tallies;
  std::map<std::string, int64_t> rules;
  Tally total;
  for (size_t s = 0; s < std::size(kSubjects); ++s) {
    const Subject &subject = kSubjects[s];
    SCOPED_TRACE(std::string(subject.schedule) + " " + subject.frozen);
    Plan good = makePlan(subject);
    ASSERT_TRUE(prove(good).holds());
    Outcome right = execute(good);
    ASSERT_EQ(right.error, "");
    for (const Mutation &mutation : kMutations) {
      Dice dice(static_cast<uint32_t>(1000 * s) +
                static_cast<uint32_t>(&mutation - kMutations));
      Tally &tally = tallies[mutation.name];
      for (int64_t round = 0; round < kRounds; ++round) {
        Plan mutant = good;
        mutation.apply(mutant, dice);
        if (mutant == good)
          continue;
        ++tally.mutants;
        test::restateClaims(mutant);
        Proof proof = prove(mutant);
        if (!proof.holds()) {
          ++tally.proof;
          ++rules[std::string(proof.counterexample->rule)];
          continue;
        }
        Outcome own = execute(mutant);
        if (own.error.find("must be on stream") != std::string::npos ||
            own.error.find("cannot be on stream") != std::string::npos ||
            own.error.find("must come from") != std::string::npos) {
          ++tally.runtime;
          continue;
        }
        ++tally.survivors;
        bool isReordered = additions(mutant) != additions(good);
        tally.reordered += isReordered ? 1 : 0;
        EXPECT_TRUE(own == right || (isReordered && isNear(own, right)))
            << mutation.name << ", round " << round
            << ": accepted, but does not compute the same " << own.error;
      }
    }
  }
  std::printf("%-30s %8s %8s %8s %10s %10s\n", "mutation", "mutants", "proof",
              "runtime", "survivors", "reordered");
  for (const auto &[name, tally] : tallies) {
    std::printf("%-30s %8lld %8lld %8lld %10lld %10lld\n", name.c_str(),
                static_cast<long long>(tally.mutants),
                static_cast<long long>(tally.proof),
                static_cast<long long>(tally.runtime),
                static_cast<long long>(tally.survivors),
                static_cast<long long>(tally.reordered));
    EXPECT_GT(tally.proof + tally.runtime, 0) << name;
    total.mutants += tally.mutants;
    total.proof += tally.proof;
    total.runtime += tally.runtime;
    total.survivors += tally.survivors;
  }
  std::printf("%-30s %8lld %8lld %8lld %10lld\n", "all",
              static_cast<long long>(total.mutants),
              static_cast<long long>(total.proof),
              static_cast<long long>(total.runtime),
              static_cast<long long>(total.survivors));
  for (const auto &[rule, count] : rules)
    std::printf("rejected under %-20s %8lld\n", rule.c_str(),
                static_cast<long long>(count));
  EXPECT_GE(total.mutants, 2000);
}
