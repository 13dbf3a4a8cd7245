#include "runtime/Comm/LoopbackState.h"

#include <algorithm>
#include <cstring>

namespace moe::comm {

/// What a rank posts that has an empty array: a post is never null.
static const char kNothing = 0;

/// Position of `rank` in `group`, or -1.
static int64_t positionOf(const Group &group, int64_t rank) {
  auto found = std::find(group.begin(), group.end(), rank);
  return found == group.end() ? -1 : found - group.begin();
}

static std::string describe(const Group &group) {
  std::string text;
  for (int64_t rank : group)
    text += (text.empty() ? "" : ",") + std::to_string(rank);
  return text;
}

static std::string describe(std::string_view kind, std::string_view what,
                            int64_t detail) {
  return std::string(kind) + " of '" + std::string(what) + "' (size " +
         std::to_string(detail) + ")";
}

Result<GroupState *> LoopbackTransport::meet(const Group &group,
                                             const Meeting &meeting,
                                             const void *post) {
  std::unique_lock<std::mutex> lock(world.mutex);
  if (world.failure)
    return world.ended(self);
  int64_t position = positionOf(group, self);
  if (position < 0)
    return world.fail(self,
                      describe(meeting.kind, meeting.what, meeting.detail) +
                          ": rank is not in the group " + describe(group));
  for (int64_t peer : group)
    MOE_RETURN_IF_ERROR(checkPeer(peer, meeting.what));
  GroupState &state = world.groups[group];
  state.present.resize(group.size());
  state.posted.resize(group.size());
  if (state.arrived == 0) {
    state.kind = meeting.kind;
    state.what = meeting.what;
    state.detail = meeting.detail;
  } else if (state.kind != meeting.kind || state.what != meeting.what ||
             state.detail != meeting.detail) {
    return world.fail(
        self, "ranks " + describe(group) + " do not agree: " +
                  describe(meeting.kind, meeting.what, meeting.detail) +
                  " meets " + describe(state.kind, state.what, state.detail));
  }
  if (post)
    state.posted[static_cast<size_t>(position)] = post;
  state.present[static_cast<size_t>(position)] = 1;
  if (++state.arrived == group.size()) {
    state.arrived = 0;
    std::fill(state.present.begin(), state.present.end(), 0);
    ++state.generation;
    for (int64_t peer : group)
      world.conditions[static_cast<size_t>(peer)]->notify_all();
    state.readers += post ? 1 : 0;
    return &state;
  }
  uint64_t generation = state.generation;
  MOE_RETURN_IF_ERROR(world.wait(
      lock, self, [&] { return state.generation != generation; },
      [&] {
        Group missing;
        for (size_t i = 0; i < group.size(); ++i)
          if (!state.present[i])
            missing.push_back(group[i]);
        return describe(meeting.kind, meeting.what, meeting.detail) +
               ": ranks " + describe(missing) + " of " + describe(group) +
               " did not come";
      }));
  state.readers += post ? 1 : 0;
  return &state;
}

Status LoopbackTransport::leave(GroupState &state, const Group &group,
                                Status status, std::string_view what) {
  {
    std::lock_guard<std::mutex> lock(world.mutex);
    --state.readers;
    for (int64_t peer : group)
      world.conditions[static_cast<size_t>(peer)]->notify_all();
  }
  if (status)
    status = barrier(group, what);
  if (!status) {
    // Readers never block once the world has ended.
    std::unique_lock<std::mutex> lock(world.mutex);
    world.conditions[static_cast<size_t>(self)]->wait(
        lock, [&] { return state.readers == 0; });
  }
  return status;
}

Status LoopbackTransport::barrier(const Group &group, std::string_view what) {
  Result<GroupState *> met = meet(group, {"barrier", 0, what}, nullptr);
  return met ? Status() : Status(met.error());
}

Status LoopbackTransport::copySegments(const GroupState &state,
                                       const Group &group,
                                       std::span<const ReceiveSegment> receives,
                                       std::string_view what) {
  using Sends = std::span<const SendSegment>;
  // The next send segment of each peer to look at.
  std::vector<size_t> next(group.size(), 0);
  auto fail = [&](const std::string &message) {
    std::lock_guard<std::mutex> lock(world.mutex);
    return world.fail(self,
                      "exchange of '" + std::string(what) + "': " + message);
  };
  auto skipOthers = [&](size_t position) -> const SendSegment * {
    const Sends &sends = *static_cast<const Sends *>(state.posted[position]);
    size_t &at = next[position];
    while (at < sends.size() && sends[at].peer != self)
      ++at;
    return at < sends.size() ? &sends[at] : nullptr;
  };
  for (const ReceiveSegment &receive : receives) {
    int64_t position = positionOf(group, receive.peer);
    if (position < 0)
      return fail("rank " + std::to_string(receive.peer) +
                  " is not in the group " + describe(group));
    const SendSegment *send = skipOthers(static_cast<size_t>(position));
    if (!send || send->bytes != receive.bytes)
      return fail("expected " + std::to_string(receive.bytes) +
                  " bytes from rank " + std::to_string(receive.peer) +
                  (send ? ", it sends " + std::to_string(send->bytes)
                        : ", it sends nothing more"));
    if (receive.bytes > 0)
      std::memcpy(receive.data, send->data, static_cast<size_t>(receive.bytes));
    ++next[static_cast<size_t>(position)];
  }
  for (size_t position = 0; position < group.size(); ++position)
    if (const SendSegment *send = skipOthers(position))
      return fail("rank " + std::to_string(group[position]) + " sends " +
                  std::to_string(send->bytes) + " bytes that nobody expects");
  return {};
}

Status LoopbackTransport::exchange(const Group &group,
                                   std::span<const SendSegment> sends,
                                   std::span<const ReceiveSegment> receives,
                                   std::string_view what) {
  Result<GroupState *> met = meet(group, {"exchange", 0, what}, &sends);
  if (!met)
    return met.error();
  return leave(**met, group, copySegments(**met, group, receives, what), what);
}

/// data[i] = ((source0[i] + source1[i]) + source2[i]) + ... for i in
/// [begin, end); `data` may be one of the sources.
template <typename T>
static void addInOrder(T *data, const std::vector<const void *> &sources,
                       int64_t begin, int64_t end) {
  for (int64_t i = begin; i < end; ++i) {
    T total = static_cast<const T *>(sources[0])[i];
    for (size_t s = 1; s < sources.size(); ++s)
      total += static_cast<const T *>(sources[s])[i];
    data[i] = total;
  }
}

Status LoopbackTransport::reduceInPlace(GroupState &state, const Group &group,
                                        void *data, int64_t elements,
                                        DType dtype, std::string_view what) {
  // Each rank sums one chunk in place, which no other rank touches meanwhile;
  // then everyone takes the chunks of the others.
  int64_t ranks = static_cast<int64_t>(group.size());
  int64_t mine = positionOf(group, self);
  auto begin = [&](int64_t position) { return elements * position / ranks; };
  if (dtype == DType::f32)
    addInOrder(static_cast<float *>(data), state.posted, begin(mine),
               begin(mine + 1));
  else
    addInOrder(static_cast<double *>(data), state.posted, begin(mine),
               begin(mine + 1));
  MOE_RETURN_IF_ERROR(barrier(group, what));
  int64_t width = byteSize(dtype);
  for (int64_t position = 0; position < ranks; ++position) {
    int64_t bytes = (begin(position + 1) - begin(position)) * width;
    if (position == mine || bytes == 0)
      continue;
    int64_t offset = begin(position) * width;
    std::memcpy(static_cast<std::byte *>(data) + offset,
                static_cast<const std::byte *>(
                    state.posted[static_cast<size_t>(position)]) +
                    offset,
                static_cast<size_t>(bytes));
  }
  return {};
}

Status LoopbackTransport::allReduceSum(const Group &group, void *data,
                                       int64_t elements, DType dtype,
                                       std::string_view what) {
  if (dtype != DType::f32 && dtype != DType::f64) {
    std::lock_guard<std::mutex> lock(world.mutex);
    return world.fail(self, "all_reduce of '" + std::string(what) +
                                "': element type " + std::string(name(dtype)) +
                                ", must be f32 or f64");
  }
  Result<GroupState *> met =
      meet(group,
           {dtype == DType::f32 ? "all_reduce f32" : "all_reduce f64", elements,
            what},
           data ? data : &kNothing);
  if (!met)
    return met.error();
  // Of nothing there is no data; all ranks have as much of it.
  Status reduced =
      elements == 0 || !data
          ? Status()
          : reduceInPlace(**met, group, data, elements, dtype, what);
  return leave(**met, group, std::move(reduced), what);
}

Result<std::vector<double>>
LoopbackTransport::allGather(const Group &group, std::span<const double> values,
                             std::string_view what) {
  Result<GroupState *> met =
      meet(group, {"all_gather", static_cast<int64_t>(values.size()), what},
           &values);
  if (!met)
    return met.error();
  std::vector<double> all;
  for (const void *posted : (*met)->posted) {
    const auto &theirs = *static_cast<const std::span<const double> *>(posted);
    all.insert(all.end(), theirs.begin(), theirs.end());
  }
  MOE_RETURN_IF_ERROR(leave(**met, group, {}, what));
  return all;
}

} // namespace moe::comm
