//===- MalformedOverlapTest.cpp - overlaps that break a rule ----------===//

#include "Malformed.h"
#include "TinyPlan.h"

#include <gtest/gtest.h>

namespace moe::plan {
namespace {

const Case kOverlapCases[] = {
    // Keys and types.
    {OVERLAP "/members", removeIt, "", "$.ranks[0].overlaps[0]",
     "missing key \"members\""},
    {OVERLAP "/order", removeIt, "", "$.ranks[0].overlaps[0]",
     "missing key \"order\""},
    {OVERLAP "/waits", removeIt, "", "$.ranks[0].overlaps[0]",
     "missing key \"waits\""},
    {OVERLAP "/live", removeIt, "", "$.ranks[0].overlaps[0]",
     "missing key \"live\""},
    {OVERLAP "/colour", set, "1", "$.ranks[0].overlaps[0].colour",
     "unknown key"},
    {OVERLAP "/members/0/colour", set, "1",
     "$.ranks[0].overlaps[0].members[0].colour", "unknown key"},
    {OVERLAP "/members/1/phase", removeIt, "",
     "$.ranks[0].overlaps[0].members[1]", "missing key \"phase\""},
    {OVERLAP "/members/1/stage", removeIt, "",
     "$.ranks[0].overlaps[0].members[1]", "missing key \"stage\""},
    {OVERLAP "/waits/0/on", removeIt, "", "$.ranks[0].overlaps[0].waits[0]",
     "missing key \"on\""},
    {OVERLAP "/waits/0/op", removeIt, "", "$.ranks[0].overlaps[0].waits[0]",
     "missing key \"op\""},
    {OVERLAP "/order/0", set, "true", "$.ranks[0].overlaps[0].order[0]",
     "expected an integer"},
    {OVERLAP "/live/3", set, "[0]", "$.ranks[0].overlaps[0].live[3]",
     "each of the 11 memory classes"},
    {STEPS0 "/6/overlap", removeIt, "", "$.ranks[0].steps[6]",
     "missing key \"overlap\""},
    {STEPS0 "/6/second_microbatch", removeIt, "", "$.ranks[0].steps[6]",
     "missing key \"second_microbatch\""},
    {STEPS0 "/6/second_slot", removeIt, "", "$.ranks[0].steps[6]",
     "missing key \"second_slot\""},
    {STEPS0 "/6/kind", set, "\"run\"", "$.ranks[0].steps[6].overlap",
     "unknown key"},

    // Members.
    {OVERLAP "/members/1", removeIt, "", "$.ranks[0].overlaps[0].members",
     "must be two, are 1"},
    {OVERLAP "/members", append, R"({"stage": 0, "phase": "forward"})",
     "$.ranks[0].overlaps[0].members", "must be two, are 3"},
    {OVERLAP "/members/1/stage", set, "1",
     "$.ranks[0].overlaps[0].members[1].stage",
     "refers to element 1 of $.stages, which has 1"},
    {OVERLAP "/members/1/phase", set, "\"weight_grad\"",
     "$.ranks[0].overlaps[0].members[1].phase",
     "stage \"s0\" has no weight_grad program"},
    {OVERLAP "/members/1/phase", set, "\"forward\"",
     "$.ranks[0].overlaps[0].members", "must be two different programs"},

    // Order.
    {OVERLAP "/order/7", set, "2", "$.ranks[0].overlaps[0].order[7]",
     "must be from 0 to 1, is 2"},
    {OVERLAP "/order/7", set, "1", "$.ranks[0].overlaps[0].order[7]",
     "the program of member 1 has only 4 ops"},
    {OVERLAP "/order/7", removeIt, "", "$.ranks[0].overlaps[0].order",
     "names member 0 3 times, its program has 4 ops"},

    // Waits.
    {OVERLAP "/waits/0/op", set, "8", "$.ranks[0].overlaps[0].waits[0].op",
     "refers to element 8 of order, which has 8"},
    {OVERLAP "/waits/0/op", set, "-1", "$.ranks[0].overlaps[0].waits[0].op",
     "refers to element -1 of order"},
    {OVERLAP "/waits/0/on", set, "4", "$.ranks[0].overlaps[0].waits[0].on",
     "must be an earlier position than 4, is 4"},
    {OVERLAP "/waits/0/on", set, "-1", "$.ranks[0].overlaps[0].waits[0].on",
     "must be an earlier position than 4, is -1"},
    {OVERLAP "/waits/0/on", set, "2", "$.ranks[0].overlaps[0].waits[0].on",
     "is an op of the same member"},
    {OVERLAP "/waits/0/on", set, "1", "$.ranks[0].overlaps[0].waits[0].on",
     "is on the same stream"},
    {OVERLAP "/waits", append, R"({"op": 4, "on": 3})",
     "$.ranks[0].overlaps[0].waits[1]", "waits must rise"},
    {OVERLAP "/waits", append, R"({"op": 4, "on": 0})",
     "$.ranks[0].overlaps[0].waits[1]", "waits must rise"},
    {OVERLAP "/waits/0", removeIt, "", "$.ranks[0].overlaps[0].order[4]",
     "op \"experts.dispatch\" writes value \"sent\""},
    {OVERLAP "/waits/0/on", set, "0", "$.ranks[0].overlaps[0].order[4]",
     "while op \"experts.activation.input_grad\" on stream \"compute\""},
    {FORWARD0 "/ops/1/waits", set, "[]",
     "$.stages[0].programs[0].ops[1].inputs[0]",
     "op \"experts.dispatch\" reads value \"x\" while op \"embedding\""},
    {FORWARD0 "/ops/2/waits", set, "[]",
     "$.stages[0].programs[0].ops[2].inputs[0]",
     "op \"experts.activation\" reads value \"sent\""},
    {BACKWARD0 "/ops/1/waits", set, "[]", "$.ranks[0].overlaps[0].order[1]",
     "op \"experts.dispatch.input_grad\" reads value \"d_y\" of stage \"s0\" "
     "while op \"loss.input_grad\" on stream \"compute\""},
    {BACKWARD0 "/ops/2/waits", set, "[]", "$.ranks[0].overlaps[0].order[3]",
     "op \"experts.activation.input_grad\" reads value \"d_sent\""},
    {FORWARD0 "/ops/2/waits", set, "[1, 0]",
     "$.stages[0].programs[0].ops[2].waits[1]",
     "op \"embedding\" is on the same stream"},
    {FORWARD0 "/ops/3/stream", set, "\"expert_communication\"",
     "$.stages[0].programs[0].ops[3].inputs[0]",
     "op \"loss\" reads value \"y\" while op \"experts.activation\""},

    // Claims.
    {OVERLAP "/live/7", removeIt, "", "$.ranks[0].overlaps[0].live",
     "must have one element for each of the 8 ops in order, has 7"},
    {OVERLAP "/live/3/4", set, "256", "$.ranks[0].overlaps[0].live[3]",
     "claims 256 bytes of class \"transient\", the replay has 512"},
    {OVERLAP "/order", set, "[1, 1, 0, 0, 1, 1, 0, 0]",
     "$.ranks[0].overlaps[0].live[3]",
     "claims 512 bytes of class \"transient\", the replay has 256"},
    {OVERLAP "/order", set, "[1, 1, 1, 0, 0, 1, 0, 0]",
     "$.ranks[0].overlaps[0].waits[0].on", "is an op of the same member"},
    {"/ranks/0/peak_op", set, "\"loss\"", "$.ranks[0].peak_step",
     "3584 bytes are live there"},
    {"/ranks/0/peak_op", set, "\"dispatch\"", "$.ranks[0].peak_op",
     "step 6 has no op \"dispatch\""},

    // Steps.
    {STEPS0 "/6/overlap", set, "1", "$.ranks[0].steps[6].overlap",
     "refers to element 1 of the rank's overlaps, which has 1"},
    {STEPS0 "/6/overlap", set, "-1", "$.ranks[0].steps[6].overlap",
     "refers to element -1"},
    {STEPS0 "/6/phase", set, "\"backward\"", "$.ranks[0].steps[6].phase",
     "must be that of the first member of the overlap, \"forward\""},
    {STEPS0 "/6/second_microbatch", set, "2",
     "$.ranks[0].steps[6].second_microbatch", "must be from 0 to 1, is 2"},
    {STEPS0 "/6/second_microbatch", set, "1",
     "$.ranks[0].steps[6].second_microbatch", "for different microbatches"},
    {STEPS0 "/6/second_slot", set, "2", "$.ranks[0].steps[6].second_slot",
     "refers to element 2 of the stage's slots"},
    {STEPS0 "/6/second_slot", set, "1", "$.ranks[0].steps[6].second_slot",
     "microbatch 0 of stage \"s0\" is in slot 0"},
    {STEPS0 "/6/second_slot", set, "-1", "$.ranks[0].steps[6].second_slot",
     "must not be -1"},
    {STEPS0 "/6/slot", set, "0", "$.ranks[0].steps[6].slot",
     "microbatch 1 of stage \"s0\" is in slot 1"},
    {STEPS0 "/2", removeIt, "", "$.ranks[0].steps[2].value",
     "value \"loss\" of stage \"s0\", microbatch 0 is not live"},
    {STEPS0 "/6", removeIt, "", "$.ranks[0].steps[6].value",
     "value \"loss\" of stage \"s0\", microbatch 1 is not live"},
    {STEPS0 "/4", removeIt, "", "$.ranks[0].steps[5].phase",
     "value \"tokens\" of stage \"s0\", microbatch 1 is not live"},
    {STEPS0 "/3", removeIt, "", "$.ranks[0].steps[5].phase",
     "overlaps value \"loss\" of stage \"s0\", microbatch 0"},
    {STEPS0 "/8/microbatch", set, "0", "$.ranks[0].steps[8].slot",
     "microbatch 0 of stage \"s0\" is in slot 0"},
    {STEPS0 "/8", removeIt, "", "$.ranks[0].steps",
     "leak: value \"tokens\" of stage \"s0\", microbatch 1"},

    // Bytes of the two members.
    {STAGE0 "/values/3/offset", set, "5120", "$.ranks[0].overlaps[0].order[4]",
     "value \"sent\" of stage \"s0\" at bytes 5120 to 5376 overlaps value "
     "\"d_x\" of stage \"s0\""},
    {STAGE0 "/values/8/offset", set, "4608", "$.ranks[0].overlaps[0].order[3]",
     "value \"d_x\" of stage \"s0\" at bytes 4608 to 4864 overlaps value "
     "\"d_y\""},
};

TEST(MalformedOverlap, IsRefusedWithPathAndReason) {
  expectRefused(kOverlapCases, overlapText());
}

} // namespace
} // namespace moe::plan
