//===- ChoiceNotes.cpp - what a plan says about its choices ---------------===//

#include "driver/ChoiceNotes.h"

#include <algorithm>
#include <array>
#include <cstdio>
#include <string>

namespace moe::driver {

std::vector<int64_t> roomBy(const Chosen &chosen,
                            const std::vector<int64_t> &arenaBytes,
                            int64_t whole) {
  std::vector<int64_t> room;
  for (size_t r = 0; r < arenaBytes.size(); ++r)
    room.push_back(std::max<int64_t>(
        0, whole - (arenaBytes[r] - chosen.ranks[r].peakBytes)));
  return room;
}

namespace {

std::string percent(double share) {
  std::array<char, 32> text;
  snprintf(text.data(), text.size(), "%.2f %%", share * 100);
  return text.data();
}

std::string joined(const std::vector<int64_t> &numbers) {
  std::string text;
  for (int64_t number : numbers)
    text += (text.empty() ? "" : ",") + std::to_string(number);
  return text;
}

std::string gapText(int64_t ns, int64_t boundNs) {
  return percent(static_cast<double>(ns) / static_cast<double>(boundNs) - 1);
}

/// How far the plan of these choices is from the bound.
plan::Assumption gapOf(const Chooser &chooser, const Chosen &chosen,
                       const std::vector<int64_t> &capacityBytes,
                       int64_t evaluatedNs) {
  const optimize::StepBound bound = chooser.bound(chosen, capacityBytes);
  const int64_t boundNs = std::max<int64_t>(1, bound.ns);
  return {"policies.gap_to_bound",
          gapText(std::max(evaluatedNs, boundNs), boundNs),
          std::string("by how much the step, with what its programs take, is "
                      "longer than the proven bound for ") +
              (bound.isOfAllCuts ? "all cuts of the model" : "these stages") +
              " and this order of steps, both as the planner's model counts "
              "steps"};
}

} // namespace

plan::Assumption gapOfAnyOrder(const Chooser &chooser, const plan::Plan &plan) {
  return {"schedule.gap_to_bound",
          gapText(plan.prediction.stepNs,
                  std::max<int64_t>(1, chooser.leastNsOfAnyOrder())),
          "by how much the simulated step is longer than the proven bound for "
          "all orders of steps and all cuts of the model, however much memory: "
          "what a rank has to compute, or to exchange"};
}

void describe(const std::shared_ptr<const Chooser> &chooser, int64_t whole,
              const Chosen &chosen, int64_t evaluatedNs, Certainty certainty,
              PlanAnswer &answer) {
  std::vector<plan::Assumption> &list = answer.plan.assumptions;
  list.push_back({"partition", joined(chosen.layers),
                  "layers of each stage, chosen by the planner"});
  size_t paying = 0;
  for (const Chosen::Rank &rank : chosen.ranks)
    paying += rank.extraNs > 0;
  // Of ranks that choose alike, one was chosen for.
  const size_t ranks = answer.plan.ranks.size();
  const size_t alike = ranks / chosen.ranks.size();
  list.push_back(
      {"policies.ranks_that_pay",
       std::to_string(paying * alike) + " of " + std::to_string(ranks),
       "ranks that lose time, by the planner's account, to what they compute "
       "or copy again; the others keep everything, or what they move takes "
       "none"});
  if (chooser->effort() == optimize::Effort::exact)
    list.push_back(
        {"policies.effort", "exact",
         certainty == Certainty::own
             ? "certified: within the memory that it was made for, nothing "
               "that was weighed is quicker by the planner's account, but "
               "for " +
                   percent(1.0 / optimize::kExactWithin)
         : certainty == Certainty::others
             ? "quicker, by what its programs take, than what is certified to "
               "be best by the planner's account"
             : "not certified: the instance is too large to follow every "
               "choice, or nothing fits"});
  if (!answer.plan.prediction.fits)
    return;
  std::vector<int64_t> arenas;
  for (const plan::Rank &rank : answer.plan.ranks)
    arenas.push_back(rank.arenaBytes);
  const std::vector<int64_t> capacity =
      roomBy(chosen, chooser->largestAlike(arenas), whole);
  answer.findGap = [chooser, chosen, capacity, evaluatedNs] {
    return gapOf(*chooser, chosen, capacity, evaluatedNs);
  };
}

} // namespace moe::driver
