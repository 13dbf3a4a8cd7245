#include "compiler/Optimize/OutsideSlots.h"

#include <algorithm>
#include <cassert>
#include <iterator>
#include <set>
#include <utility>

namespace moe::optimize {

OutsideSlots::OutsideSlots(plan::Plan &plan, const plan::Rank &rank,
                           const Contexts &contexts, Reuse reuse)
    : plan(plan), rank(rank), contexts(contexts), reuse(reuse),
      inContext(contexts.all().size()), duringStep(rank.steps.size()) {
  std::vector<int64_t> begins;
  int64_t axisEnd = 0;
  for (size_t i = 0; i < contexts.all().size(); ++i) {
    begins.push_back(axisEnd);
    gather(i, axisEnd);
    axisEnd += contexts.all()[i].length();
  }
  mergeLives();
  std::vector<int64_t> live(static_cast<size_t>(axisEnd) + 1, 0);
  for (const Outside &buffer : buffers)
    for (const Lifetime &life : buffer.lives) {
      live[life.begin] += buffer.bytes;
      live[life.end] -= buffer.bytes;
    }
  for (size_t at = 1; at < live.size(); ++at)
    live[at] += live[at - 1];
  for (size_t i = 0; i < begins.size(); ++i)
    liveInContext.emplace_back(live.begin() + begins[i],
                               live.begin() + begins[i] +
                                   contexts.all()[i].length());
  followSteps(begins, axisEnd);
  mergeLives();
}

size_t OutsideSlots::numberOf(const Name &name, int64_t &offset,
                              int64_t bytes) {
  auto [known, isNew] = numbers.try_emplace(name, buffers.size());
  if (isNew)
    buffers.push_back({&offset, bytes, {}});
  return known->second;
}

size_t OutsideSlots::numberOf(const Named &named) {
  plan::Value &value = plan.stages[named.first].values[named.second];
  return numberOf({named.first, -1, named.second}, value.offset, value.bytes);
}

bool OutsideSlots::isFixed(const Named &named) const {
  const plan::Value &value = plan.stages[named.first].values[named.second];
  return value.placement == plan::Placement::fixed && !value.isOnHost();
}

/// The lifetimes that the ops of a context give to values outside slots and to
/// scratch: among each other, and beside slots.
void OutsideSlots::gather(size_t index, int64_t begin) {
  const Context &context = contexts.all()[index];
  auto visit = [&](Sharing sharing, auto found) {
    ContextLifetimes lives(context, reuse, sharing);
    for (size_t m = 0; m < context.members.size(); ++m) {
      auto [stage, program] = context.members[m];
      lives.forEach(
          plan.stages[stage], m,
          [&](plan::ValueIndex value, int64_t from, int64_t to, bool, bool) {
            if (isFixed({stage, value}))
              found(numberOf({stage, value}), Lifetime{from, to});
          },
          [&](size_t number, int64_t from, int64_t to) {
            plan::Op &op = program->ops[number];
            found(numberOf({stage, static_cast<int64_t>(program->phase),
                            static_cast<int64_t>(number)},
                           op.scratchOffset, op.scratchBytes),
                  Lifetime{from, to});
          });
    }
  };
  visit(Sharing::fixed, [&](size_t buffer, Lifetime life) {
    buffers[buffer].lives.push_back({begin + life.begin, begin + life.end});
  });
  visit(Sharing::slots, [&](size_t buffer, Lifetime life) {
    inContext[index].push_back({buffer, life});
  });
}

/// Joins the lives of each buffer that meet.
void OutsideSlots::mergeLives() {
  for (Outside &buffer : buffers) {
    std::sort(buffer.lives.begin(), buffer.lives.end(),
              [](Lifetime a, Lifetime b) {
                return a.begin != b.begin ? a.begin < b.begin : a.end < b.end;
              });
    std::vector<Lifetime> merged;
    for (Lifetime life : buffer.lives)
      if (!merged.empty() && life.begin <= merged.back().end)
        merged.back().end = std::max(merged.back().end, life.end);
      else
        merged.push_back(life);
    buffer.lives = std::move(merged);
  }
}

/// Values that live between steps keep out of each other's way, and out of that
/// of every context that runs meanwhile. `begins`: of contexts, on the axis of
/// lifetimes, and its end.
void OutsideSlots::followSteps(const std::vector<int64_t> &begins,
                               int64_t axisEnd) {
  // What a context does to values that live between steps, both rising.
  struct Through {
    std::vector<Named> used;
    std::vector<Named> staying; ///< of those, what it does not release
  };
  auto through = [&](const Context &context) {
    std::set<Named> used, released;
    for (const auto &[stage, program] : context.members) {
      const plan::Stage &of = plan.stages[stage];
      for (const auto *list : {&program->inputs, &program->outputs})
        for (plan::ValueIndex value : *list)
          used.insert({stage, plan::storageOf(of, value)});
      for (const plan::Op &op : program->ops)
        for (plan::ValueIndex value : op.releases)
          released.insert({stage, plan::storageOf(of, value)});
    }
    Through made;
    for (const Named &named : used)
      if (isFixed(named)) {
        made.used.push_back(named);
        if (!released.contains(named))
          made.staying.push_back(named);
      }
    return made;
  };
  std::vector<Through> contextsThrough;
  for (const Context &context : contexts.all())
    contextsThrough.push_back(through(context));
  std::vector<Named> live, others; // rising
  std::set<std::vector<Named>> moments;
  std::set<std::pair<size_t, std::vector<Named>>> passed;
  auto addAll = [&](const std::vector<Named> &values, Lifetime life) {
    for (const Named &named : values)
      buffers[numberOf(named)].lives.push_back(life);
  };
  for (size_t i = 0; i < rank.steps.size(); ++i) {
    const plan::Step &step = rank.steps[i];
    auto stayDuring = [&](const std::vector<Named> &values) {
      for (const Named &named : values)
        duringStep[i].push_back(numberOf(named));
    };
    if (plan::isExecution(step.kind)) {
      // What a program uses has its life there; what it does not release
      // lives on.
      const size_t index = contexts.indexOf(step);
      const auto &[used, staying] = contextsThrough[index];
      others.clear();
      std::set_difference(live.begin(), live.end(), used.begin(), used.end(),
                          std::back_inserter(others));
      stayDuring(others);
      if (passed.insert({index, others}).second)
        addAll(others,
               {begins[index], begins[index] + contexts.all()[index].length()});
      live.clear();
      std::merge(others.begin(), others.end(), staying.begin(), staying.end(),
                 std::back_inserter(live));
    } else if (plan::hasValue(step.kind) && isFixed({step.stage, step.value})) {
      const Named named(step.stage, step.value);
      auto at = std::lower_bound(live.begin(), live.end(), named);
      const bool isLive = at != live.end() && *at == named;
      if (isArrival(step.kind) && !isLive)
        live.insert(at, named);
      stayDuring(live);
      if (isLive && !isArrival(step.kind) && step.kind != plan::StepKind::send)
        live.erase(at);
    } else {
      stayDuring(live);
      continue;
    }
    if (moments.insert(live).second) {
      addAll(live, {axisEnd, axisEnd + 1});
      ++axisEnd;
    }
  }
}

int64_t OutsideSlots::bound(const SlotHeights &slots) const {
  int64_t most = 0;
  for (size_t c = 0; c < liveInContext.size(); ++c)
    for (size_t at = 0; at < liveInContext[c].size(); ++at)
      most = std::max(most, slots.liveInContext[c][at] + liveInContext[c][at]);
  for (size_t c = 0; c < inContext.size(); ++c)
    most = std::max(most, boundBeside(c, slots.liveInContext[c], most));
  return most;
}

/// Of a context, what lives in slots at a moment, and the most of all that
/// keeps out of its way then that lives at one time, which may be another: none
/// of it shares bytes. As far as that is more than `known`.
int64_t OutsideSlots::boundBeside(size_t context,
                                  const std::vector<int64_t> &liveInSlots,
                                  int64_t known) const {
  // By moment: what comes and goes.
  std::vector<std::vector<std::pair<size_t, int>>> changes(liveInSlots.size() +
                                                           1);
  for (const auto &[buffer, life] : inContext[context]) {
    changes[life.begin].push_back({buffer, 1});
    changes[life.end].push_back({buffer, -1});
  }
  std::map<size_t, int> beside; // how often
  int64_t bytesBeside = 0, together = -1;
  for (size_t at = 0; at < liveInSlots.size(); ++at) {
    for (const auto &[buffer, change] : changes[at]) {
      int &count = beside[buffer];
      if (count == 0)
        bytesBeside += buffers[buffer].bytes;
      count += change;
      if (count == 0)
        bytesBeside -= buffers[buffer].bytes;
      together = -1;
    }
    if (liveInSlots[at] + bytesBeside <= known)
      continue;
    if (together == -1)
      together = mostTogether(beside);
    known = std::max(known, liveInSlots[at] + together);
  }
  return known;
}

/// The most bytes of these buffers that live at a time.
int64_t OutsideSlots::mostTogether(const std::map<size_t, int> &counts) const {
  PackingProblem problem;
  for (const auto &[buffer, count] : counts)
    if (count > 0)
      problem.buffers.push_back(lifetimesOf(buffer, 0));
  return maxLive(problem);
}

Buffer OutsideSlots::lifetimesOf(size_t buffer, int64_t above) const {
  const auto &[offset, bytes, lives] = buffers[buffer];
  return {bytes,
          lives.front().begin,
          lives.front().end,
          plan::kAlignment,
          {lives.begin() + 1, lives.end()},
          above};
}

/// How high slots reach, at most, while each buffer lives.
std::vector<int64_t> OutsideSlots::above(const SlotHeights &slots) const {
  std::vector<int64_t> most(buffers.size(), 0);
  for (size_t c = 0; c < inContext.size(); ++c)
    for (const auto &[buffer, life] : inContext[c])
      most[buffer] =
          std::max(most[buffer],
                   *std::max_element(slots.inContext[c].begin() + life.begin,
                                     slots.inContext[c].begin() + life.end));
  for (size_t i = 0; i < duringStep.size(); ++i)
    for (size_t buffer : duringStep[i])
      most[buffer] = std::max(most[buffer], slots.atStep[i]);
  return most;
}

std::vector<int64_t> OutsideSlots::bytesBesideSteps() const {
  std::vector<int64_t> bytes;
  for (const std::vector<size_t> &living : duringStep) {
    int64_t &sum = bytes.emplace_back(0);
    for (size_t buffer : living)
      sum += buffers[buffer].bytes;
  }
  return bytes;
}

std::vector<int64_t> OutsideSlots::pack(const SlotHeights &slots) const {
  const std::vector<int64_t> most = above(slots);
  PackingProblem problem;
  for (size_t i = 0; i < buffers.size(); ++i)
    problem.buffers.push_back(lifetimesOf(i, most[i]));
  assert(problem.check().ok() && "lifetimes come from programs in order");
  std::vector<int64_t> depths = optimize::pack(problem).offsets;
  for (size_t i = 0; i < buffers.size(); ++i)
    depths[i] += buffers[i].bytes;
  return depths;
}

int64_t OutsideSlots::height(const std::vector<int64_t> &depths,
                             const SlotHeights &slots) const {
  const std::vector<int64_t> most = above(slots);
  int64_t height = slots.most;
  for (size_t i = 0; i < buffers.size(); ++i)
    height = std::max(height, depths[i] + most[i]);
  return height;
}

std::vector<int64_t>
OutsideSlots::depthsOverTime(const std::vector<int64_t> &depths,
                             const std::vector<int64_t> &begins) const {
  std::vector<std::vector<int64_t>> ofContexts;
  for (size_t c = 0; c < inContext.size(); ++c) {
    std::vector<int64_t> &own =
        ofContexts.emplace_back(contexts.all()[c].length(), 0);
    for (const auto &[buffer, life] : inContext[c])
      for (int64_t at = life.begin; at < life.end; ++at)
        own[at] = std::max(own[at], depths[buffer]);
  }
  std::vector<int64_t> over(static_cast<size_t>(begins.back()), 0);
  for (size_t i = 0; i < rank.steps.size(); ++i) {
    int64_t least = 0;
    for (size_t buffer : duringStep[i])
      least = std::max(least, depths[buffer]);
    const bool isExecution = plan::isExecution(rank.steps[i].kind);
    for (int64_t at = begins[i]; at < begins[i + 1]; ++at)
      over[at] =
          isExecution
              ? std::max(
                    least,
                    ofContexts[contexts.indexOf(rank.steps[i])][at - begins[i]])
              : least;
  }
  return over;
}

void OutsideSlots::write(const std::vector<int64_t> &depths, int64_t end) {
  for (size_t i = 0; i < buffers.size(); ++i)
    *buffers[i].offset = end - depths[i];
}

} // namespace moe::optimize
