//===- StreamOrder.cpp - what is done when an op begins -------------------===//
//
// Each op carries a clock: for every stream, the last op that is done when it
// begins. As ops of a stream end in order, all before that one are done too.
//
//===----------------------------------------------------------------------===//

#include "runtime/Plan/StreamOrder.h"

#include <algorithm>

namespace moe::plan {

StreamOrder::Clock StreamOrder::none() {
  Clock clock;
  clock.fill(-1);
  return clock;
}

void StreamOrder::addInput(int64_t begin, int64_t end) {
  uses.emplace(begin, Use{end, none(), -1});
}

void StreamOrder::issue(Stream stream, const std::vector<int64_t> &waits) {
  Issued next{stream, none()};
  auto follow = [&](int64_t position) {
    const Issued &earlier = ops[position];
    for (size_t s = 0; s < kStreamCount; ++s)
      next.done[s] = std::max(next.done[s], earlier.done[s]);
    int64_t &done = next.done[static_cast<size_t>(earlier.stream)];
    done = std::max(done, position);
  };
  int64_t &last = lastOnStream[static_cast<size_t>(stream)];
  if (last != -1)
    follow(last);
  for (int64_t position : waits)
    follow(position);
  last = static_cast<int64_t>(ops.size());
  ops.push_back(next);
}

bool StreamOrder::isDone(int64_t position) const {
  return position <= ops.back().done[static_cast<size_t>(ops[position].stream)];
}

int64_t StreamOrder::firstUnderWay(const Clock &lastUse) const {
  int64_t self = static_cast<int64_t>(ops.size()) - 1;
  for (int64_t position : lastUse)
    if (position != -1 && position != self && !isDone(position))
      return position;
  return -1;
}

void StreamOrder::cut(int64_t at) {
  auto next = uses.lower_bound(at);
  if (next == uses.begin())
    return;
  Use &before = std::prev(next)->second;
  if (before.end <= at)
    return;
  Use behind = before;
  before.end = at;
  uses.emplace_hint(next, at, behind);
}

StreamOrder::Uses::iterator StreamOrder::carve(int64_t begin, int64_t end) {
  cut(begin);
  cut(end);
  return uses.lower_bound(begin);
}

int64_t StreamOrder::read(int64_t begin, int64_t end) {
  int64_t self = static_cast<int64_t>(ops.size()) - 1;
  int64_t blocker = -1;
  for (auto it = carve(begin, end); it != uses.end() && it->first < end; ++it) {
    Use &use = it->second;
    if (use.lastWrite != -1 && use.lastWrite != self && !isDone(use.lastWrite))
      blocker = use.lastWrite;
    use.lastUse[static_cast<size_t>(ops.back().stream)] = self;
  }
  return blocker;
}

int64_t StreamOrder::write(int64_t begin, int64_t end) {
  int64_t self = static_cast<int64_t>(ops.size()) - 1;
  int64_t blocker = -1;
  auto it = carve(begin, end);
  while (it != uses.end() && it->first < end) {
    blocker = std::max(blocker, firstUnderWay(it->second.lastUse));
    it = uses.erase(it);
  }
  Use written{end, none(), self};
  written.lastUse[static_cast<size_t>(ops.back().stream)] = self;
  uses.emplace_hint(it, begin, written);
  return blocker;
}

int64_t StreamOrder::release(int64_t begin, int64_t end) {
  int64_t blocker = -1;
  for (auto it = carve(begin, end); it != uses.end() && it->first < end; ++it)
    blocker = std::max(blocker, firstUnderWay(it->second.lastUse));
  return blocker;
}

} // namespace moe::plan
