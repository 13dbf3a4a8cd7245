//===- MalformedOffloadTest.cpp - copies that break a rule ------------===//

#include "Malformed.h"
#include "TinyPlan.h"

#include "runtime/Plan/Replay.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace moe::plan {
namespace {

using testing::HasSubstr;
using testing::StartsWith;

const Case kOffloadCases[] = {
    // Keys, types and ranges.
    {"/machine/host_memory_bytes", removeIt, "", "$.machine",
     "missing key \"host_memory_bytes\""},
    {"/machine/host_memory_bytes", set, "-1", "$.machine.host_memory_bytes",
     "must be at least 0"},
    {"/machine/to_host_bytes_per_second", set, "-1.0",
     "$.machine.to_host_bytes_per_second", "must be at least 0"},
    {"/machine/to_device_bytes_per_second", set, "-1.0",
     "$.machine.to_device_bytes_per_second", "must be at least 0"},
    {"/machine/host_combined_bytes_per_second", set, "\"fast\"",
     "$.machine.host_combined_bytes_per_second", "expected a number"},
    {"/machine/host_link_devices", set, "0", "$.machine.host_link_devices",
     "must be at least 1"},
    {"/ranks/0/host_arena_bytes", removeIt, "", "$.ranks[0]",
     "missing key \"host_arena_bytes\""},
    {"/ranks/0/host_arena_bytes", set, "-256", "$.ranks[0].host_arena_bytes",
     "must be at least 0"},
    {"/ranks/0/host_arena_bytes", set, "100", "$.ranks[0].host_arena_bytes",
     "must be a multiple of 256"},
    {"/ranks/0/host_peak_bytes", removeIt, "", "$.ranks[0]",
     "missing key \"host_peak_bytes\""},
    {"/ranks/0/exposed_copy_ns", removeIt, "", "$.ranks[0]",
     "missing key \"exposed_copy_ns\""},
    {"/ranks/0/exposed_copy_ns", set, "281", "$.ranks[0].exposed_copy_ns",
     "must be from 0 to 280"},
    {FORWARD0 "/ops/1/stream", set, "\"copy\"",
     "$.stages[0].programs[0].ops[1].stream",
     "expected \"compute\", \"expert_communication\", \"copy_out\" or "
     "\"copy_in\""},

    // Places on the host.
    {STAGE0 "/slots/1/1", set, "512", "$.stages[0].slots[1][1]",
     "256 bytes at 512 leave the arena, which has 512"},
    {STAGE0 "/slots/1/1", set, "10", "$.stages[0].slots[1][1]",
     "must be a multiple of 256"},
    {STAGE0 "/values/6/offset", set, "256", "$.stages[0].slots[1][1]",
     "leave the arena"},
    {STAGE0 "/values/6/group", set, "0", "$.stages[0].values[0].group",
     "has values of class \"host\" and of others"},
    // The arena of the host is too small, the claim of the machine's memory
    // wrong.
    {"/ranks/0/host_arena_bytes", set, "256", "$.stages[0].slots[1][1]",
     "256 bytes at 256 leave the arena, which has 256"},
    {"/machine/host_memory_bytes", set, "256", "$.prediction.fits",
     "or its host arena the host's memory"},
    // A range of the host that is taken by the other microbatch.
    {STAGE0 "/slots/1/1", set, "0", "$.ranks[0].steps[5].phase",
     "overlaps value \"x.host\" of stage \"s0\", microbatch 0, which lives "
     "at host bytes 0 to 256"},

    // Who may touch the host.
    {FORWARD0 "/ops/1/stream", set, "\"compute\"",
     "$.stages[0].programs[0].ops[1].outputs[0]",
     "must be a value on the device for an op on stream \"compute\"; "
     "\"x.host\" is not"},
    {FORWARD0 "/ops/1/stream", set, "\"copy_in\"",
     "$.stages[0].programs[0].ops[1].inputs[0]",
     "must be a value on the host for an op on stream \"copy_in\"; \"x\" is "
     "not"},
    {FORWARD0 "/ops/2/stream", set, "\"copy_out\"",
     "$.stages[0].programs[0].ops[2].outputs[0]",
     "must be a value on the host for an op on stream \"copy_out\"; \"out\" "
     "is not"},
    {BACKWARD0 "/ops/0/stream", set, "\"compute\"",
     "$.stages[0].programs[1].ops[0].inputs[0]",
     "must be a value on the device"},
    {BACKWARD0 "/ops/1/inputs/1", set, "6",
     "$.stages[0].programs[1].ops[1].inputs[1]",
     "must be a value on the device"},
    {BACKWARD0 "/ops/1/scratch_class", set, "\"host\"",
     "$.stages[0].programs[1].ops[1].scratch_class",
     "scratch lies on the device"},
    {STEPS0 "/2/value", set, "6", "$.ranks[0].steps[2].value",
     "must lie on the device; \"x.host\" is on the host"},

    // Order on the streams.
    // A copy out that does not wait for its value.
    {FORWARD0 "/ops/1/waits", set, "[]",
     "$.stages[0].programs[0].ops[1].inputs[0]",
     "reads value \"x\" while op \"embedding\" on stream \"compute\" may "
     "still be writing it; a wait for it is missing"},
    // The device bytes are released before the copy has ended.
    {FORWARD0 "/ops/2/waits", set, "[]",
     "$.stages[0].programs[0].ops[2].releases[0]",
     "releases value \"x\" while op \"x.offload\" on stream \"copy_out\" "
     "may still be using it; a wait for it is missing"},
    // They are written again before that.
    {FORWARD0 "/ops/1/releases", set, "[1]",
     "$.stages[0].programs[0].ops[2].inputs[0]",
     "value \"x\" was released before"},
    // The copy back is read before it is there.
    {BACKWARD0 "/ops/1/waits", set, "[]",
     "$.stages[0].programs[1].ops[1].inputs[1]",
     "reads value \"x.back\" while op \"x.reload\" on stream \"copy_in\" "
     "may still be writing it; a wait for it is missing"},
    // Host bytes that stay, or that are released twice.
    {BACKWARD0 "/ops/0/releases", set, "[]", "$.stages[0].programs[1]", ""},
    {BACKWARD0 "/ops/1/releases", append, "6",
     "$.stages[0].programs[1].ops[1].releases[3]",
     "value \"x.host\" was released before"},
    {FORWARD0 "/outputs/2", removeIt, "", "$.stages[0].programs[0].outputs",
     "leak: value \"x.host\" is live at the end of the program"},

    // Claims.
    {"/ranks/0/host_peak_bytes", set, "256", "$.ranks[0].host_peak_bytes",
     "claims 256 bytes, the replay has 512"},
    {STEPS0 "/5/live/10", set, "0", "$.ranks[0].steps[5].live",
     "claims 0 bytes of class \"host\", the replay has 256"},
    {FORWARD0 "/ops/1/live/10", set, "0", "$.stages[0].programs[0].ops[1].live",
     "claims 0 bytes of class \"host\", the replay has 256"},
};

TEST(MalformedOffload, IsRefusedWithPathAndReason) {
  expectRefused(kOffloadCases, offloadText());
}

TEST(MalformedOffload, BytesOfACopyMustNotBeWrittenBeforeItEnds) {
  // The norm's first output takes the place of "x", which the copy releases.
  Plan plan = offloadPlan();
  Program &forward = plan.stages[0].programs[0];
  std::swap(forward.ops[1], forward.ops[2]);
  forward.ops[1].waits = {};
  forward.ops[1].releases = {};
  forward.ops[2].waits = {1};
  forward.ops[2].releases = {1};
  Op copy = forward.ops[1];
  copy.name = "again";
  copy.inputs = {5};
  copy.outputs = {8};
  copy.scratchBytes = 0;
  Value again = plan.stages[0].values[1];
  again.name = "again";
  plan.stages[0].values.push_back(again);
  copy.releases = {8};
  forward.ops.push_back(copy);
  EXPECT_THAT(checkError(plan),
              StartsWith("$.stages[0].programs[0].ops[1].live"));
  for (Op &op : forward.ops)
    op.live = {};
  Result<std::vector<ByteCounts>> live = replayProgram(plan, 0, 0);
  ASSERT_TRUE(live.ok()) << live.error().message;
  for (size_t i = 0; i < forward.ops.size(); ++i)
    forward.ops[i].live = (*live)[i];
  EXPECT_THAT(checkError(plan),
              HasSubstr("writes value \"again\" at bytes 4608 to 4864 while op "
                        "\"x.offload\" on stream \"copy_out\" may still be "
                        "using them; a wait for it is missing"));
  forward.ops[3].waits = {2};
  EXPECT_EQ(checkError(plan), "no error");
}

} // namespace
} // namespace moe::plan
