//===- MalformedPlanTest.cpp - documents that are JSON but no plan --------===//

#include "TinyPlan.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

namespace moe::plan {
namespace {

using nlohmann::ordered_json;
using testing::HasSubstr;
using testing::StartsWith;

enum class Edit { set, remove, append };

/// One edit of the tiny plan, and where and why the result is refused.
struct Case {
  const char *pointer; ///< JSON pointer
  Edit edit;
  const char *value; ///< JSON text, for set and append
  const char *path;
  const char *reason;
};

constexpr Edit set = Edit::set;
constexpr Edit removeIt = Edit::remove;
constexpr Edit append = Edit::append;

// Shorthands of deep places.
#define STAGE0 "/stages/0"
#define STAGE1 "/stages/1"
#define FORWARD0 "/stages/0/programs/0"
#define BACKWARD0 "/stages/0/programs/1"
#define STEPS0 "/ranks/0/steps"
#define STEPS1 "/ranks/1/steps"

const Case kCases[] = {
    // Missing keys.
    {"/format", removeIt, "", "$", "missing key \"format\""},
    {"/version", removeIt, "", "$", "missing key \"version\""},
    {"/ranks", removeIt, "", "$", "missing key \"ranks\""},
    {"/model/layers", removeIt, "", "$.model", "missing key \"layers\""},
    {"/layout/tensor", removeIt, "", "$.layout", "missing key \"tensor\""},
    {"/prediction/fits", removeIt, "", "$.prediction", "missing key \"fits\""},
    {STAGE0 "/values/2/bytes", removeIt, "", "$.stages[0].values[2]",
     "missing key \"bytes\""},
    {FORWARD0 "/ops/1/releases", removeIt, "", "$.stages[0].programs[0].ops[1]",
     "missing key \"releases\""},
    {STEPS0 "/2/peer", removeIt, "", "$.ranks[0].steps[2]",
     "missing key \"peer\""},
    {STEPS0 "/0/role", removeIt, "", "$.ranks[0].steps[0]",
     "missing key \"role\""},
    {STAGE0 "/parameters/0/initializer/kind", removeIt, "",
     "$.stages[0].parameters[0].initializer", "missing key \"kind\""},

    // Unknown keys.
    {"/colour", set, "1", "$.colour", "unknown key"},
    {"/machine/colour", set, "1", "$.machine.colour", "unknown key"},
    {FORWARD0 "/ops/0/colour", set, "1",
     "$.stages[0].programs[0].ops[0].colour", "unknown key"},
    {STEPS0 "/1/value", set, "0", "$.ranks[0].steps[1].value", "unknown key"},
    {STEPS0 "/12/microbatch", set, "0", "$.ranks[0].steps[12].microbatch",
     "unknown key"},
    {"/ranks/0/peak/colour", set, "1", "$.ranks[0].peak.colour", "unknown key"},

    // Wrong types.
    {"", set, "[]", "$", "expected an object, is an array"},
    {"", set, "7", "$", "expected an object, is an integer"},
    {"/generator", set, "null", "$.generator", "expected text, is null"},
    {"/model", set, "[]", "$.model", "expected an object, is an array"},
    {"/model/layers", set, "\"1\"", "$.model.layers",
     "expected an integer, is text"},
    {"/model/layers", set, "1.5", "$.model.layers",
     "expected an integer, is a fractional number"},
    {"/model/layers", set, "1.0", "$.model.layers", "expected an integer"},
    {"/model/reductions", set, "{}", "$.model.reductions",
     "expected an array, is an object"},
    {"/model/reductions/0", set, "7", "$.model.reductions[0]",
     "expected text, is an integer"},
    {"/prediction/fits", set, "1", "$.prediction.fits",
     "expected true or false, is an integer"},
    {"/prediction/bubble", set, "\"0.3\"", "$.prediction.bubble",
     "expected a number, is text"},
    {"/stages", set, "{}", "$.stages", "expected an array, is an object"},
    {"/stages/1", set, "null", "$.stages[1]", "expected an object, is null"},
    {STAGE0 "/values/1/shape", set, "32", "$.stages[0].values[1].shape",
     "expected an array"},
    {STAGE0 "/values/1/shape/0", set, "true", "$.stages[0].values[1].shape[0]",
     "expected an integer, is a boolean"},
    {FORWARD0 "/ops/1/attributes", set, "[]",
     "$.stages[0].programs[0].ops[1].attributes", "expected an object"},
    {FORWARD0 "/ops/1/attributes/epsilon", set, "null",
     "$.stages[0].programs[0].ops[1].attributes.epsilon",
     "expected true, false, a number"},
    {BACKWARD0 "/ops/0/attributes/axes/1", set, "0.5",
     "$.stages[0].programs[1].ops[0].attributes.axes[1]",
     "expected an integer"},
    {FORWARD0 "/ops/1/live", set, "{}", "$.stages[0].programs[0].ops[1].live",
     "each of the 10 memory classes"},
    {FORWARD0 "/ops/1/live", append, "0", "$.stages[0].programs[0].ops[1].live",
     "each of the 10 memory classes"},
    {"/ranks/0/persistent", set, "[]", "$.ranks[0].persistent",
     "expected an object"},

    // Unknown names.
    {"/format", set, "\"pipeline\"", "$.format", "expected \"moe-plan\""},
    {"/version", set, "2", "$.version", "reads version 1"},
    {"/version", set, "0", "$.version", "reads version 1"},
    {"/memory_classes/0", set, "\"weights\"", "$.memory_classes[0]",
     "is \"weights\""},
    {"/memory_classes", append, "\"saved\"", "$.memory_classes",
     "in their order"},
    {"/memory_classes/9", removeIt, "", "$.memory_classes", "in their order"},
    {"/dtype", set, "\"fp8\"", "$.dtype", "is \"fp8\""},
    {"/dtype", set, "\"i32\"", "$.dtype", "expected \"bf16\""},
    {"/schedule", set, "\"chaos\"", "$.schedule", "expected \"gpipe\""},
    {STAGE0 "/values/1/class", set, "\"weights\"",
     "$.stages[0].values[1].class", "a name in $.memory_classes"},
    {STAGE0 "/values/1/class", set, "\"optimizer\"",
     "$.stages[0].values[1].class", "is for buffers of parameters"},
    {STAGE0 "/values/1/placement", set, "\"heap\"",
     "$.stages[0].values[1].placement", "expected \"fixed\" or \"slot\""},
    {STAGE0 "/parameters/0/replication", set, "\"none\"",
     "$.stages[0].parameters[0].replication", "expected \"dense\""},
    {STAGE0 "/parameters/0/dtype", set, "\"i32\"",
     "$.stages[0].parameters[0].dtype", "expected \"bf16\""},
    {STAGE0 "/parameters/0/initializer/kind", set, "\"uniform\"",
     "$.stages[0].parameters[0].initializer.kind", "expected \"normal\""},
    {FORWARD0 "/phase", set, "\"sideways\"", "$.stages[0].programs[0].phase",
     "expected \"forward\""},
    {FORWARD0 "/ops/0/stream", set, "\"io\"",
     "$.stages[0].programs[0].ops[0].stream", "expected \"compute\""},
    {BACKWARD0 "/ops/0/scratch_class", set, "\"parameters\"",
     "$.stages[0].programs[1].ops[0].scratch_class",
     "is for buffers of parameters"},
    {STEPS0 "/0/kind", set, "\"jump\"", "$.ranks[0].steps[0].kind",
     "expected \"load\""},
    {STEPS0 "/0/role", set, "\"images\"", "$.ranks[0].steps[0].role",
     "expected \"tokens\", \"labels\", \"labels_2\""},

    {STEPS0 "/0/role", set, "\"labels_66\"", "$.ranks[0].steps[0].role",
     "or \"labels_65\", is \"labels_66\""},

    // Tied parameters.
    {STAGE0 "/parameters/0/tied_to", set, "\"\"",
     "$.stages[0].parameters[0].tied_to", "must name a parameter"},
    {STAGE0 "/parameters/0/tied_to", set, "\"table\"",
     "$.stages[0].parameters[0].tied_to", "there is no parameter \"table\""},
    {STAGE0 "/parameters/0/tied_to", set, "\"layers.0.norm\"",
     "$.stages[0].parameters[0].tied_to", "is on the same rank"},
    {STAGE0 "/parameters/0/tied_to", set, "\"head\"",
     "$.stages[0].parameters[0].tied_to", "must be alike"},

    // Ranges.
    {"/layout/microbatches", set, "0", "$.layout.microbatches",
     "must be at least 1, is 0"},
    {"/layout/expert", set, "-3", "$.layout.expert",
     "must be at least 1, is -3"},
    {"/model/hidden", set, "-1", "$.model.hidden", "must be at least 0"},
    {"/model/active_parameters", set, "265", "$.model.active_parameters",
     "must be from 0 to 264"},
    {"/machine/reserve_bytes", set, "-1", "$.machine.reserve_bytes",
     "must be at least 0"},
    {"/prediction/bubble", set, "1.5", "$.prediction.bubble", "at most 1"},
    {"/prediction/step_ns", set, "-1", "$.prediction.step_ns",
     "must be at least 0"},
    {"/capacity_factor", set, "-0.5", "$.capacity_factor",
     "must be at least 0"},
    {"/model/total_parameters", set, "9007199254740993",
     "$.model.total_parameters", "beyond 2^53"},
    {"/model/total_parameters", set, "-9007199254740993",
     "$.model.total_parameters", "beyond 2^53"},
    {"/model/total_parameters", set, "18446744073709551615",
     "$.model.total_parameters", "beyond 2^53"},
    {STAGE0 "/values/1/shape", set, "[]", "$.stages[0].values[1].shape",
     "at least one dimension"},
    {STAGE0 "/values/1/shape/0", set, "0", "$.stages[0].values[1].shape[0]",
     "must be at least 1"},
    {STAGE0 "/values/1/shape", set, "[4503599627370496, 4503599627370496]",
     "$.stages[0].values[1].shape", "more than 2^53 bytes"},
    {STAGE0 "/values/1/bytes", set, "100", "$.stages[0].values[1].bytes",
     "must be a multiple of 256, is 100"},
    {STAGE0 "/values/1/bytes", set, "512", "$.stages[0].values[1].bytes",
     "must be 256 for this shape and dtype, is 512"},
    {STAGE0 "/values/1/shape/0", set, "400", "$.stages[0].values[1].bytes",
     "must be 6400"},
    {STAGE0 "/values/1/offset", set, "-256", "$.stages[0].values[1].offset",
     "must be at least 0"},
    {STAGE0 "/values/1/offset", set, "100", "$.stages[0].values[1].offset",
     "must be a multiple of 256"},
    {STAGE0 "/values/2/offset", set, "5120", "$.stages[0].values[2].offset",
     "leave the arena, which has 5120"},
    {STAGE0 "/slots/1", set, "4608", "$.stages[0].slots[1]",
     "768 bytes at 4608 leave the arena"},
    {STAGE0 "/slots/1", set, "10", "$.stages[0].slots[1]",
     "must be a multiple of 256"},
    {STAGE0 "/parameters/0/weight_offset", set, "-1",
     "$.stages[0].parameters[0].weight_offset", "must be at least 0"},
    {STAGE0 "/parameters/0/second_moment_offset", set, "4864",
     "$.stages[0].parameters[0].second_moment_offset", "leave the arena"},
    {STAGE0 "/parameters/1/gradient_offset", set, "4864",
     "$.stages[0].parameters[1].gradient_offset", "is not trainable"},
    {STAGE1 "/parameters/0/master_offset", set, "4096",
     "$.stages[1].parameters[0].master_offset", "only bf16 parameters"},
    {STAGE0 "/parameters/0/master_offset", set, "-1",
     "$.stages[0].parameters[0].master_offset", "must be at least 0, is -1"},
    {STAGE0 "/parameters/0/initializer/standard_deviation", set, "-1",
     "$.stages[0].parameters[0].initializer.standard_deviation",
     "must be at least 0"},
    {BACKWARD0 "/ops/0/scratch_bytes", set, "100",
     "$.stages[0].programs[1].ops[0].scratch_bytes", "multiple of 256"},
    {BACKWARD0 "/ops/0/scratch_offset", set, "5120",
     "$.stages[0].programs[1].ops[0].scratch_offset", "leave the arena"},
    {BACKWARD0 "/ops/0/time_ns", set, "-1",
     "$.stages[0].programs[1].ops[0].time_ns", "must be at least 0"},
    {"/ranks/0/arena_bytes", set, "5000", "$.ranks[0].arena_bytes",
     "must be a multiple of 256"},
    {"/ranks/0/busy_ns", set, "-1", "$.ranks[0].busy_ns", "must be at least 0"},
    {"/ranks/0/peak/saved", set, "-256", "$.ranks[0].peak.saved",
     "must be at least 0"},
    {STEPS0 "/3/live/3", set, "-256", "$.ranks[0].steps[3].live[3]",
     "must be at least 0"},
    {STEPS0 "/1/microbatch", set, "2", "$.ranks[0].steps[1].microbatch",
     "must be from 0 to 1, is 2"},
    {STEPS0 "/1/slot", set, "2", "$.ranks[0].steps[1].slot",
     "refers to element 2 of the stage's slots"},

    // Empty and duplicate names.
    {STAGE0 "/name", set, "\"\"", "$.stages[0].name", "must not be empty"},
    {FORWARD0 "/ops/0/kind", set, "\"\"", "$.stages[0].programs[0].ops[0].kind",
     "must not be empty"},
    {STAGE1 "/name", set, "\"s0\"", "$.stages[1].name",
     "\"s0\" is already the name of $.stages[0]"},
    {STAGE0 "/values/3/name", set, "\"x\"", "$.stages[0].values[3].name",
     "\"x\" is already the name of $.stages[0].values[1]"},
    {STAGE1 "/parameters/0/name", set, "\"embedding.table\"",
     "$.stages[1].parameters[0].name",
     "is already the name of $.stages[0].parameters[0]"},
    {BACKWARD0 "/ops/1/name", set, "\"embedding\"",
     "$.stages[0].programs[1].ops[1].name",
     "is already the name of $.stages[0].programs[0].ops[0]"},
    {BACKWARD0 "/phase", set, "\"forward\"", "$.stages[0].programs[1].phase",
     "already a forward program"},
    {FORWARD0 "/outputs", set, "[1, 2, 5, 1]",
     "$.stages[0].programs[0].outputs[3]", "\"x\" is already in the list"},

    // Dangling and contradictory references.
    {STAGE0 "/rank", set, "2", "$.stages[0].rank",
     "refers to element 2 of $.ranks, which has 2"},
    {STAGE0 "/rank", set, "1", "$.ranks[0].stages[0]",
     "stage \"s0\" says that it is on rank 1"},
    {"/ranks/0/stages", set, "[]", "$.stages[0].rank",
     "rank 0 does not list stage \"s0\""},
    {"/ranks/0/stages", set, "[0, 0]", "$.ranks[0].stages[1]", "rising order"},
    {"/ranks/0/stages/0", set, "9", "$.ranks[0].stages[0]",
     "refers to element 9 of $.stages"},
    {"/ranks/1/rank", set, "0", "$.ranks[1].rank", "must be its index 1"},
    {"/layout/pipeline", set, "3", "$.ranks",
     "one for each of the 3 pipeline ranks"},
    {FORWARD0 "/ops/0/inputs/0", set, "6",
     "$.stages[0].programs[0].ops[0].inputs[0]", "refers to element 6"},
    {FORWARD0 "/ops/0/outputs/0", set, "-2",
     "$.stages[0].programs[0].ops[0].outputs[0]", "refers to element -2"},
    {FORWARD0 "/ops/0/parameters/0", set, "2",
     "$.stages[0].programs[0].ops[0].parameters[0]",
     "refers to element 2 of the stage's parameters"},
    {BACKWARD0 "/ops/0/releases/0", set, "-1",
     "$.stages[0].programs[1].ops[0].releases[0]", "refers to element -1"},
    {FORWARD0 "/inputs/0", set, "-1", "$.stages[0].programs[0].inputs[0]",
     "refers to element -1"},
    {FORWARD0 "/outputs/0", set, "6", "$.stages[0].programs[0].outputs[0]",
     "refers to element 6"},
    {STEPS0 "/1/stage", set, "2", "$.ranks[0].steps[1].stage",
     "refers to element 2 of $.stages"},
    {STEPS0 "/1/stage", set, "1", "$.ranks[0].steps[1].stage",
     "stage \"s1\" is on rank 1, not 0"},
    {STEPS0 "/0/value", set, "6", "$.ranks[0].steps[0].value",
     "refers to element 6"},
    {STEPS0 "/2/peer", set, "2", "$.ranks[0].steps[2].peer",
     "refers to element 2 of $.ranks"},
    {STEPS0 "/1/phase", set, "\"weight_grad\"", "$.ranks[0].steps[1].phase",
     "stage \"s0\" has no weight_grad program"},
    {STEPS0 "/0/slot", set, "-1", "$.ranks[0].steps[0].slot",
     "must not be -1, because value \"tokens\" lies in a slot"},
    {STEPS0 "/1/slot", set, "-1", "$.ranks[0].steps[1].slot",
     "must not be -1, because the program uses values that lie in a slot"},
    {STEPS0 "/0/value", set, "1", "$.ranks[0].steps[0].value",
     "must have dtype i32"},
    {STEPS1 "/3/value", set, "4", "$.ranks[1].steps[3].value",
     "must be a scalar"},
    {"/ranks/0/peak_step", set, "14", "$.ranks[0].peak_step",
     "refers to element 14"},

    // Programs: cyclic, released twice, written twice, leaks.
    {FORWARD0 "/ops/0/inputs", set, "[2]",
     "$.stages[0].programs[0].ops[0].inputs[0]",
     "\"out\" is used before it is written: the ops are out of order or "
     "cyclic"},
    {FORWARD0 "/ops/0/inputs", set, "[1]",
     "$.stages[0].programs[0].ops[0].inputs[0]", "out of order or cyclic"},
    {FORWARD0 "/inputs", set, "[]", "$.stages[0].programs[0].ops[0].inputs[0]",
     "\"tokens\" is neither an input of the program nor written by it"},
    {BACKWARD0 "/ops/1/inputs", set, "[4, 1]",
     "$.stages[0].programs[1].ops[1].inputs[1]", "\"x\" was released before"},
    {BACKWARD0 "/ops/1/releases", set, "[4, 0, 1]",
     "$.stages[0].programs[1].ops[1].releases[2]", "\"x\" was released before"},
    {BACKWARD0 "/ops/1/releases", set, "[4, 0, 2]",
     "$.stages[0].programs[1].ops[1].releases[2]",
     "\"out\" is neither an input of the program nor written by it"},
    {BACKWARD0 "/ops/0/releases", set, "[1, 5, 3, 1]",
     "$.stages[0].programs[1].ops[0].releases[3]", "\"x\" was released before"},
    {FORWARD0 "/ops/1/outputs", set, "[2, 1]",
     "$.stages[0].programs[0].ops[1].outputs[1]",
     "\"x\" is written a second time"},
    {FORWARD0 "/ops/1/outputs", set, "[2, 0]",
     "$.stages[0].programs[0].ops[1].outputs[1]",
     "\"tokens\" is an input of the program"},
    {FORWARD0 "/outputs", set, "[1, 2]", "$.stages[0].programs[0].outputs",
     "leak: value \"inverse\" is live at the end of the program"},
    {FORWARD0 "/outputs", set, "[1, 2, 5, 3]",
     "$.stages[0].programs[0].outputs[3]", "\"d_out\" is not written"},
    {BACKWARD0 "/outputs", set, "[4]", "$.stages[0].programs[1].outputs[0]",
     "\"d_x\" was released"},
    {BACKWARD0 "/ops/1/releases", set, "[0]", "$.stages[0].programs[1].outputs",
     "leak: value \"d_x\""},

    // Schedules: order, leaks, slots.
    {STEPS0 "/0", removeIt, "", "$.ranks[0].steps[0].phase",
     "value \"tokens\" of stage \"s0\", microbatch 0 is not live in slot 0"},
    {STEPS0 "/1", removeIt, "", "$.ranks[0].steps[1].value",
     "value \"out\" of stage \"s0\", microbatch 0 is not live"},
    {STEPS0 "/2", removeIt, "", "$.ranks[0].steps[2].value",
     "was not sent to that peer before"},
    {STEPS0 "/3", removeIt, "", "$.ranks[0].steps[4].phase",
     "overlaps value \"out\" of stage \"s0\", microbatch 0"},
    {STEPS0 "/8", removeIt, "", "$.ranks[0].steps[8].phase",
     "value \"d_out\" of stage \"s0\", microbatch 0 is not live"},
    {STEPS0 "/11", removeIt, "", "$.ranks[0].steps",
     "leak: value \"tokens\" of stage \"s0\", microbatch 1 is live after"},
    {STEPS1 "/15", removeIt, "", "$.ranks[1].steps",
     "leak: value \"x\" of stage \"s1\", microbatch 1"},
    {STEPS1 "/14", removeIt, "", "$.ranks[1].steps", "leak: no wait_send"},
    {STEPS1 "/3", removeIt, "", "$.ranks[1].steps[5].phase",
     "overlaps value \"loss\" of stage \"s1\", microbatch 0"},
    {STEPS0 "/3/peer", set, "0", "$.ranks[0].steps[3].value",
     "was not sent to that peer before"},
    {STEPS0 "/1/slot", set, "1", "$.ranks[0].steps[1].slot",
     "microbatch 0 of stage \"s0\" is in slot 0"},
    {STEPS0 "/1/microbatch", set, "1", "$.ranks[0].steps[1].phase",
     "microbatch 1 is not live in slot 0"},
    {STEPS0 "/4/slot", set, "0", "$.ranks[0].steps[4].value",
     "overlaps value \"tokens\" of stage \"s0\", microbatch 0"},
    {STEPS0 "/4/microbatch", set, "0", "$.ranks[0].steps[4].slot",
     "microbatch 0 of stage \"s0\" is in slot 0"},
    {STEPS0, append, R"({"kind": "update", "live": [0,0,0,0,0,0,0,0,0,0]})",
     "$.ranks[0].steps[14].kind", "already an update"},
    {STEPS0, append,
     R"({"kind": "reduce_gradients", "live": [0,0,0,0,0,0,0,0,0,0]})",
     "$.ranks[0].steps[14].kind", "before the update"},
    {"/layout/microbatches", set, "3", "$.ranks[0].steps",
     "the forward program of stage \"s0\" runs for 2 of 3 microbatches"},

    // Sends and receives.
    {STEPS1 "/4/peer", set, "1", "$.ranks[0].steps[6]",
     "rank 1 has no receive for this send"},
    {STEPS0 "/10/peer", set, "0", "$.ranks[0].steps[10]",
     "rank 0 has no send for this receive"},
    {STAGE1 "/values/0/shape", set, "[8, 4]", "$.ranks[1].steps[0].value",
     "\"x\" is bf16[8,4], but \"out\" is bf16[4,8]; it meets "
     "$.ranks[0].steps[2]"},
    {STAGE1 "/values/0/dtype", set, "\"f32\"", "$.ranks[1].steps[0].value",
     "\"x\" is f32[4,8]"},

    // Overlapping bytes.
    {STAGE0 "/parameters/0/gradient_offset", set, "0", "$.stages[0].parameters",
     "overlaps the one of"},
    {STAGE0 "/parameters/0/master_offset", set, "512",
     "$.stages[0].parameters[0].master_offset",
     "overlaps the one of $.stages[0].parameters[0].gradient_offset"},
    {STAGE0 "/slots/0", set, "2304", "$.stages[0].slots[0]",
     "overlap the buffer of $.stages[0].parameters[1].weight_offset"},
    {STAGE0 "/values/2/offset", set, "0", "$.stages[0].values[2].offset",
     "overlap the buffer of $.stages[0].parameters[0].weight_offset"},
    {BACKWARD0 "/ops/0/scratch_offset", set, "2304",
     "$.stages[0].programs[1].ops[0].scratch_offset", "overlap the buffer of"},
    {BACKWARD0 "/ops/0/scratch_offset", set, "4352",
     "$.stages[0].programs[1].ops[0].scratch_offset",
     "the scratch of the op at bytes 4352 to 4608 overlaps value \"d_out\""},
    {STAGE0 "/values/5/offset", set, "256",
     "$.stages[0].programs[0].ops[1].outputs[1]",
     "value \"inverse\" at bytes 2816 to 3072 overlaps value \"x\""},
    {STAGE0 "/values/4/offset", set, "4352",
     "$.stages[0].programs[1].ops[0].outputs[0]", "overlaps value \"d_out\""},
    {STAGE0 "/slots/1", set, "2560", "$.ranks[0].steps[4].value",
     "overlaps value \"tokens\" of stage \"s0\", microbatch 0"},
    {STAGE0 "/slots/1", set, "2816", "$.ranks[0].steps[4].value",
     "overlaps value \"x\" of stage \"s0\", microbatch 0"},
    {STAGE0 "/values/2/offset", set, "2560",
     "$.stages[0].programs[0].ops[1].outputs[0]",
     "value \"out\" at bytes 2560 to 2816 overlaps value \"tokens\""},

    // Wrong claims.
    {FORWARD0 "/ops/1/live/6", set, "512",
     "$.stages[0].programs[0].ops[1].live",
     "claims 512 bytes of class \"send\", the replay has 256"},
    {BACKWARD0 "/ops/1/live/3", set, "0", "$.stages[0].programs[1].ops[1].live",
     "claims 0 bytes of class \"saved\", the replay has -512"},
    {BACKWARD0 "/ops/0/scratch_bytes", set, "0",
     "$.stages[0].programs[1].ops[0].live", "class \"workspace\""},
    {STAGE0 "/values/2/class", set, "\"transient\"",
     "$.stages[0].programs[0].ops[1].live", "class \"transient\""},
    {STEPS0 "/1/live/3", set, "0", "$.ranks[0].steps[1].live",
     "claims 0 bytes of class \"saved\", the replay has 256"},
    {STEPS0 "/13/live/8", set, "256", "$.ranks[0].steps[13].live",
     "class \"handles\""},
    {"/ranks/0/persistent/optimizer", set, "1024", "$.ranks[0].persistent",
     "claims 1024 bytes of class \"optimizer\", the replay has 1536"},
    {"/ranks/0/persistent/optimizer", removeIt, "", "$.ranks[0].persistent",
     "claims 0 bytes of class \"optimizer\""},
    {"/ranks/0/peak/saved", set, "1280", "$.ranks[0].peak",
     "the replay has its peak of 4864 bytes at step 9, op "
     "\"layers.0.norm.input_grad\""},
    {"/ranks/0/peak/saved", set, "1792", "$.ranks[0].peak", "claims 5120"},
    {"/ranks/0/peak_step", set, "11", "$.ranks[0].peak_step",
     "4096 bytes are live there"},
    {"/ranks/0/peak_step", set, "8", "$.ranks[0].peak_op",
     "step 8 has no op \"layers.0.norm.input_grad\""},
    {"/ranks/0/peak_step", set, "-1", "$.ranks[0].peak_step",
     "only -1 for a rank without steps"},
    {"/ranks/0/peak_op", set, "\"embedding\"", "$.ranks[0].peak_op",
     "step 9 has no op \"embedding\""},
    {"/ranks/0/peak_op", set, "\"\"", "$.ranks[0].peak_step",
     "4352 bytes are live there"},
    {"/prediction/fits", set, "false", "$.prediction.fits", "claims false"},
    {"/machine/budget_bytes", set, "6143", "$.prediction.fits", "claims true"},
};

std::string applied(const Case &test) {
  ordered_json document = ordered_json::parse(tinyText());
  ordered_json::json_pointer pointer(test.pointer);
  switch (test.edit) {
  case Edit::set:
    document[pointer] = ordered_json::parse(test.value);
    break;
  case Edit::append:
    document.at(pointer).push_back(ordered_json::parse(test.value));
    break;
  case Edit::remove: {
    ordered_json &parent = document.at(pointer.parent_pointer());
    if (parent.is_array())
      parent.erase(std::stoul(pointer.back()));
    else
      parent.erase(pointer.back());
    break;
  }
  }
  return document.dump();
}

TEST(MalformedPlan, IsRefusedWithPathAndReason) {
  // Without an edit it is a good plan.
  EXPECT_EQ(parseError(ordered_json::parse(tinyText()).dump()), "no error");
  for (const Case &test : kCases) {
    std::string error = parseError(applied(test));
    EXPECT_THAT(error, StartsWith(test.path)) << test.pointer << test.value;
    EXPECT_THAT(error, HasSubstr(test.reason)) << test.pointer << test.value;
    std::string path = error.substr(0, error.find(": "));
    EXPECT_EQ(path[0], '$') << error;
  }
}

} // namespace
} // namespace moe::plan
