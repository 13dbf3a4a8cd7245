//===- Corpus.cpp - the wrong plans -----------------------------*- C++ -*-===//
#include "test/unit/Proof/Corpus.h"

#include <algorithm>

using namespace moe;
using namespace moe::plan;
using test::Editor;
using test::WrongPlan;

namespace {

constexpr Phase kForward = Phase::forward, kBackward = Phase::backward;

constexpr const char *kDispatch = "layers.0.moe.dispatch";
constexpr const char *kHandle = "layers.0.moe.dispatch:handle";
constexpr const char *kRows = "layers.0.moe.dispatch:rows";

/// A second op of the backward program that dispatches again, as a replay does:
/// its results are new values.
Op &addReplay(Editor &edit, std::initializer_list<const char *> released) {
  Program &backward = edit.program("s0", kBackward);
  Op copy = edit.op("s0", kForward, kDispatch);
  copy.name += ".replay";
  copy.waits.clear();
  copy.releases.clear();
  for (ValueIndex &output : copy.outputs) {
    std::string name = edit.stage("s0").values[output].name;
    std::string replayed = name + ".replay";
    bool isReleased =
        std::find(released.begin(), released.end(), name) != released.end();
    output = edit.clone("s0", name, replayed);
    if (isReleased)
      copy.releases.push_back(output);
  }
  // In front of everything, when what it reads is there.
  backward.ops.insert(backward.ops.begin(), copy);
  for (size_t i = 1; i < backward.ops.size(); ++i)
    for (int64_t &wait : backward.ops[i].waits)
      ++wait;
  return backward.ops.front();
}

/// Forward leaves the handle, in bytes of its own, to a backward that there is
/// not.
void keepHandle(Plan &plan, Editor &edit) {
  Program &program = edit.program("s0", kForward);
  ValueIndex handle = edit.value("s0", kHandle);
  for (Op &op : program.ops)
    std::erase(op.releases, handle);
  program.outputs.push_back(handle);
  Value &value = edit.valueOf("s0", kHandle);
  value.offset = plan.ranks[0].arenaBytes;
  plan.ranks[0].arenaBytes += value.bytes;
}

const WrongPlan kCorpus[] = {
    //===------------------------------------------------------------------===//
    // Handles
    //===------------------------------------------------------------------===//
    {"HandleLeaksInEvaluation",
     "torchtitan #2107: only backward popped the handle (L2, L3)",
     "qwen3-forward",
     [](Plan &, Editor edit) {
       for (Op &op : edit.program("s0", kForward).ops)
         std::erase(op.releases, edit.value("s0", kHandle));
     },
     "one-release",
     "leak: value \"layers.0.moe.dispatch:handle\" is live at the end of the "
     "program"},
    {"HandleKeptForABackwardThatNeverComes",
     "torchtitan #2296: keeping went by inference mode, not by the value (L3)",
     "qwen3-forward", [](Plan &plan, Editor edit) { keepHandle(plan, edit); },
     "disjoint",
     "overlaps value \"layers.0.moe.dispatch:handle\" of stage \"s0\", "
     "microbatch 0"},
    {"HandleKeptByTheLastMicrobatch",
     "torchtitan: the cache grows by a handle a step", "qwen3-forward",
     [](Plan &plan, Editor edit) {
       // One microbatch is left, so that the step itself can be executed.
       plan.layout.microbatches = 1;
       for (int64_t rank : {0, 1})
         std::erase_if(edit.steps(rank),
                       [](const Step &step) { return step.microbatch > 0; });
       keepHandle(plan, edit);
     },
     "end-of-step",
     "leak: value \"layers.0.moe.dispatch:handle\" of stage \"s0\", microbatch "
     "0 is live after the last step"},
    {"HandleNotReleasedByBackward",
     "torchtitan HEAD: frozen layers, nobody's backward pops (L6)",
     "qwen3-1f1b",
     [](Plan &, Editor edit) {
       for (Op &op : edit.program("s0", kBackward).ops)
         std::erase(op.releases, edit.value("s0", kHandle));
     },
     "disjoint", "overlaps value \"layers.0.moe.dispatch:handle\""},
    {"ReplayedHandleLeaks",
     "torchtitan: full recompute allocates a second handle (L4)", "qwen3-1f1b",
     [](Plan &, Editor edit) {
       addReplay(edit, {kRows, "layers.0.moe.dispatch:row_probabilities",
                        "layers.0.moe.dispatch:counts"});
     },
     "one-release",
     "leak: value \"layers.0.moe.dispatch:handle.replay\" is live at the end"},
    {"ReplayCutShort",
     "torchtitan #1467, prime-rl: early stop ends the replay before combine "
     "(L5)",
     "qwen3-1f1b", [](Plan &, Editor edit) { addReplay(edit, {}); },
     "one-release", "leak: value \"layers.0.moe.dispatch:rows.replay\""},
    {"ReplayWritesTheKeptHandle",
     "one token for two dispatches: a key instead of a value", "qwen3-1f1b",
     [](Plan &, Editor edit) {
       addReplay(edit, {kRows, "layers.0.moe.dispatch:row_probabilities",
                        "layers.0.moe.dispatch:counts"})
           .outputs.back() = edit.value("s0", kHandle);
     },
     "one-release", "is an input of the program"},
    {"HandleReleasedTwice",
     "torchtitan: the dispatch and the combine node own one handle",
     "qwen3-1f1b",
     [](Plan &, Editor edit) {
       edit.program("s0", kBackward)
           .ops.back()
           .releases.push_back(edit.value("s0", kHandle));
     },
     "one-release", "value \"layers.0.moe.dispatch:handle\" was released"},
    {"HandleReleasedBehindCombineWhileBackwardNeedsIt",
     "torchtitan #2296: combine pops in the forward of training", "qwen3-1f1b",
     [](Plan &, Editor edit) {
       Program &program = edit.program("s0", kForward);
       edit.op("s0", kForward, "layers.0.ffn_residual")
           .releases.push_back(edit.value("s0", kHandle));
       std::erase(program.outputs, edit.value("s0", kHandle));
     },
     "one-release",
     "\"layers.0.moe.dispatch:handle\" of stage \"s0\", "
     "microbatch 0 is not live"},
    {"HandleUsedAfterRelease", "DeepEP: combine on a handle that was dropped",
     "qwen3-1f1b",
     [](Plan &, Editor edit) {
       Program &program = edit.program("s0", kForward);
       edit.op("s0", kForward, "layers.0.moe.experts.gate_up")
           .releases.push_back(edit.value("s0", kHandle));
       std::erase(program.outputs, edit.value("s0", kHandle));
     },
     "one-release",
     "value \"layers.0.moe.dispatch:handle\" was released before"},

    //===------------------------------------------------------------------===//
    // Streams
    //===------------------------------------------------------------------===//
    {"FreedUnderARunningAllToAll",
     "DeepEP EP_AVOID_RECORD_STREAM; pytorch #188655: freed while another "
     "stream reads",
     "qwen3-1f1b",
     [](Plan &, Editor edit) {
       ValueIndex rows =
           edit.value("s0", "layers.1.moe.experts.gate_up.input_grad");
       for (Op &op : edit.program("s0", kBackward).ops)
         std::erase(op.releases, rows);
       // The next op of the compute stream, which does not wait.
       edit.op("s0", kBackward, "layers.1.moe.experts.gate_up.weight_grad")
           .releases.push_back(rows);
     },
     "reuse-after-use",
     "while op \"layers.1.moe.dispatch.input_grad\" on "
     "stream \"expert_communication\" may still be using"},
    {"ReusedUnderARunningAllToAll",
     "PithTrain's deferred free, without the wait", "overlap",
     [](Plan &plan, Editor) { plan.ranks[0].overlaps[0].waits.clear(); },
     "reuse-after-use", "may still be using them; a wait for it is missing"},
    {"RowsReadBeforeTheyArrive", "missing wait behind a dispatch", "qwen3-1f1b",
     [](Plan &, Editor edit) {
       edit.op("s0", kForward, "layers.0.moe.experts.gate_up").waits.clear();
     },
     "read-after-write", "may still be writing it; a wait for it is missing"},
    {"RowsSentBeforeTheyAreComputed",
     "an event recorded before the work that it stands for (runtime.md 2)",
     "qwen3-1f1b",
     [](Plan &, Editor edit) {
       edit.op("s0", kForward, "layers.0.moe.combine").waits.clear();
     },
     "read-after-write", "op \"layers.0.moe.combine\" reads"},
    {"WaitsForTheWrongEvent",
     "torchtitan: one pending event for all layers (R8)", "qwen3-1f1b",
     [](Plan &, Editor edit) {
       edit.op("s0", kForward, "layers.1.moe.experts.gate_up").waits = {
           edit.indexOf("s0", kForward, "layers.0.moe.combine")};
     },
     "read-after-write", "may still be writing it"},
    {"GradientAddedOnTwoStreams",
     "delayed weight gradients on a stream of their own", "qwen3-dualpipe-v",
     [](Plan &, Editor edit) {
       // The head's norm adds on the other stream, the next microbatch's too:
       // within one program two ops add to one parameter.
       Program &program = edit.program("s3", Phase::weight_grad);
       Op twice = program.ops.front();
       twice.name += ".again";
       twice.stream = Stream::expert_communication;
       twice.releases.clear();
       program.ops.insert(program.ops.begin(), twice);
     },
     "gradients", "may still be adding to it"},
    {"ZeroBubbleFreesWhatWeightsNeed",
     "torch ZBV: what backward_input has used waits for weight_grad (L8)",
     "qwen3-dualpipe-v",
     [](Plan &, Editor edit) {
       Program &input = edit.program("s3", Phase::backward_input);
       ValueIndex needed = edit.program("s3", Phase::weight_grad).inputs[0];
       std::erase(input.outputs, needed);
       input.ops.back().releases.push_back(needed);
     },
     "one-release", "is not live"},

    //===------------------------------------------------------------------===//
    // Bytes
    //===------------------------------------------------------------------===//
    {"AliasOfTheDispatchedTokens",
     "PithTrain #16: without expert parallelism the gathered tokens are the "
     "dispatched ones",
     "qwen3-1f1b",
     [](Plan &, Editor edit) {
       const Value &tokens = edit.valueOf("s0", "layers.0.post_norm");
       Value &rows = edit.valueOf("s0", kRows);
       rows.group = tokens.group;
       rows.offset = tokens.offset;
     },
     "disjoint", "overlaps value \"layers.0.post_norm\""},
    {"AliasReleasedByBothUsers", "PithTrain #16: two names, two frees",
     "qwen3-1f1b",
     [](Plan &, Editor edit) {
       Op &op = edit.op("s0", kForward, "layers.0.ffn_residual");
       op.releases.push_back(op.releases.front());
     },
     "one-release", "was released before"},
    {"LogitsReadUnderTheirGradient",
     "PithTrain, in-place cross entropy: nobody may read the logits later "
     "(metrics, z-loss)",
     "qwen3-1f1b",
     [](Plan &, Editor edit) {
       edit.op("s1", kBackward, "lm_head.input_grad").inputs[0] =
           edit.value("s1", "lm_head");
     },
     "reuse-after-use", "value \"lm_head\" was overwritten before"},
    {"LogitsAndGradientBothReleased", "PithTrain #16: two names, two frees",
     "qwen3-1f1b",
     [](Plan &, Editor edit) {
       edit.op("s1", kBackward, "lm_head.weight_grad")
           .releases.push_back(edit.value("s1", "lm_head"));
     },
     "reuse-after-use", "value \"lm_head\" was overwritten before"},
    {"OverwritesWhatItDoesNotRead", "two aliases of one storage", "qwen3-1f1b",
     [](Plan &, Editor edit) {
       const char *other = "layers.0.moe.experts.gate_up";
       Value &gradient =
           edit.valueOf("s0", "layers.1.moe.experts.act.input_grad");
       gradient.overwrites = edit.value("s0", other);
       gradient.group = edit.valueOf("s0", other).group;
       gradient.offset = edit.valueOf("s0", other).offset;
     },
     "reuse-after-use",
     "takes over the bytes of value \"layers.0.moe.experts.gate_up\", which is "
     "no input of the op"},
    {"OverwriterInAnotherPlace", "two aliases of one storage", "qwen3-1f1b",
     [](Plan &, Editor edit) {
       edit.valueOf("s1", "loss.input_grad").offset += kAlignment;
     },
     "form", "value \"lm_head\" has another size or place"},
    {"SavedValueInACommunicationBuffer",
     "torchtitan MinimalAsyncEP: saved tensors in ping-pong buffers that are "
     "used again",
     "qwen3-1f1b",
     [](Plan &plan, Editor edit) {
       Value &rows = edit.valueOf("s0", kRows);
       rows.placement = Placement::fixed;
       rows.group = -1;
       rows.offset =
           edit.valueOf("s0", "layers.1.moe.experts.gate_up.input_grad").offset;
       (void)plan;
     },
     "disjoint", "overlaps value \"layers.0.moe.dispatch:rows\""},
    {"ScratchOverALiveValue", "a workspace that two kernels share",
     "qwen3-1f1b",
     [](Plan &plan, Editor edit) {
       Op &op = edit.op("s0", kForward, "layers.0.moe.combine");
       op.scratchOffset =
           placeOf(plan.stages[0],
                   edit.valueOf("s0", "layers.0.attention_residual"), 0);
     },
     "disjoint", "overlaps value"},
    {"ValueOverAWeight", "an arena packed too tightly", "qwen3-1f1b",
     [](Plan &plan, Editor edit) {
       edit.valueOf("s0", "layers.0.attention.o_proj").offset =
           plan.stages[0].parameters[0].weightOffset;
     },
     "disjoint", "overlap the buffer of"},
    {"GradientOverOptimizerState", "an arena packed too tightly", "qwen3-1f1b",
     [](Plan &plan, Editor) {
       plan.stages[0].parameters[1].gradientOffset =
           plan.stages[0].parameters[0].firstMomentOffset;
     },
     "disjoint", "the buffer overlaps the one of"},
    {"SlotsOverlap", "two microbatches in flight in the same bytes",
     "qwen3-1f1b",
     [](Plan &plan, Editor) {
       plan.stages[0].slots[1] = plan.stages[0].slots[0];
     },
     "disjoint", "overlaps value"},
    {"MicrobatchInAnothersSlot", "Megatron PR 6783: wrong microbatch handler",
     "qwen3-1f1b",
     [](Plan &, Editor edit) {
       for (Step &step : edit.steps(0))
         if (step.microbatch == 1)
           step.slot = 0;
     },
     "disjoint", "overlaps value"},
    {"MicrobatchChangesItsSlot", "Megatron PR 6783: wrong microbatch handler",
     "qwen3-1f1b",
     [](Plan &, Editor edit) {
       edit.steps(0)[edit.run(0, 0, kBackward, 1)].slot = 0;
     },
     "disjoint", "is in slot 1"},
    {"ArenaTooSmall", "the plan's own size", "qwen3-1f1b",
     [](Plan &plan, Editor) {
       plan.ranks[0].arenaBytes = plan.stages[0].slots[1].front();
     },
     "form", "arena"},

    //===------------------------------------------------------------------===//
    // Copies to the host and back
    //===------------------------------------------------------------------===//
    {"SourceFreedUnderItsCopyOut",
     "torchrec #4231: the device bytes are given away while they are copied",
     "offload",
     [](Plan &, Editor edit) {
       edit.op("s0", kForward, "layers.0.norm").waits.clear();
     },
     "reuse-after-use",
     "while op \"x.offload\" on stream \"copy_out\" may still be using it"},
    {"ReloadRacesItsCopyOut",
     "Megatron #7398: a reload without an edge to its own copy-out", "offload",
     [](Plan &, Editor edit) {
       // The last stage's backward follows at once: it is reloaded in forward.
       Program &forward = edit.program("s0", kForward);
       Op reload = edit.op("s0", kBackward, "x.reload");
       reload.name += ".early";
       reload.outputs = {edit.clone("s0", "x.back", "x.early")};
       reload.releases = reload.outputs;
       forward.ops.insert(forward.ops.begin() +
                              edit.indexOf("s0", kForward, "x.offload") + 1,
                          reload);
     },
     "read-after-write",
     "while op \"x.offload\" on stream \"copy_out\" may still be writing it"},
    {"ReloadUsedBeforeItArrived", "Megatron #7398: half of the copy is read",
     "offload",
     [](Plan &, Editor edit) {
       edit.op("s0", kBackward, "layers.0.norm.input_grad").waits.clear();
     },
     "read-after-write",
     "while op \"x.reload\" on stream \"copy_in\" may still be writing it"},
    {"CopiedBeforeItWasComputed",
     "a copy on a side stream that does not wait for its source", "offload",
     [](Plan &, Editor edit) {
       edit.op("s0", kForward, "x.offload").waits.clear();
     },
     "read-after-write", "op \"x.offload\" reads value \"x\""},
    {"PinnedBytesOfAnotherMicrobatch",
     "PithTrain #50: pinned buffers that the whole process shares", "offload",
     [](Plan &plan, Editor edit) {
       auto group = static_cast<size_t>(edit.valueOf("s0", "x.host").group);
       plan.stages[0].slots[1][group] = plan.stages[0].slots[0][group];
     },
     "disjoint", "overlaps value \"x.host\""},
    {"HostCopyLeaks", "DeepSpeed #8581: kept alive between steps", "offload",
     [](Plan &, Editor edit) {
       edit.op("s0", kBackward, "x.reload").releases.clear();
     },
     "end-of-step", "leak: value \"x.host\""},
    {"ReloadOverALiveGradient", "a prefetch into bytes that are still used",
     "offload",
     [](Plan &, Editor edit) {
       edit.valueOf("s0", "x.back").offset = edit.valueOf("s0", "d_out").offset;
     },
     "disjoint", "overlaps value \"d_out\""},
    {"ReloadedTwice", "a handle popped twice (Megatron tensor_pop)", "offload",
     [](Plan &, Editor edit) {
       Program &backward = edit.program("s0", kBackward);
       Op again = backward.ops.front();
       again.name += ".again";
       again.outputs = {edit.clone("s0", "x.back", "x.again")};
       again.releases = again.outputs;
       backward.ops.push_back(again);
     },
     "one-release", "value \"x.host\" was released before"},

    //===------------------------------------------------------------------===//
    // Messages
    //===------------------------------------------------------------------===//
    {"ReceiveBufferUsedAgainBeforeItIsRead",
     "one receive buffer for all microbatches, posted too early", "qwen3-1f1b",
     [](Plan &, Editor edit) {
       // The gradient of microbatch 1 arrives where that of 0 lies.
       edit.move(0, edit.step(0, StepKind::receive, 0, 1),
                 edit.run(0, 0, kBackward, 0));
     },
     "disjoint", "overlaps value \"output_grad\""},
    {"ReceivedTwice", "torch: RECV_F twice for one microbatch", "qwen3-1f1b",
     [](Plan &, Editor edit) {
       Step again = edit.steps(1)[edit.step(1, StepKind::receive, 1, 0)];
       edit.steps(1).insert(edit.steps(1).begin() + 1, again);
     },
     "one-release", "is live already"},
    {"SendBufferFilledBeforeItWasSent",
     "torch #193903 the other way: released before the peer has it",
     "qwen3-1f1b",
     [](Plan &, Editor edit) {
       edit.move(0, edit.step(0, StepKind::wait_send, 0, 0),
                 edit.run(0, 0, kForward, 1) + 1);
     },
     "disjoint", "overlaps value"},
    {"FreedWhileItIsSent", "NCCL: a send buffer freed by the host",
     "qwen3-1f1b",
     [](Plan &, Editor edit) {
       // What is sent is a value that backward frees.
       for (StepKind kind : {StepKind::send, StepKind::wait_send})
         edit.steps(0)[edit.step(0, kind, 0, 3)].value =
             edit.value("s0", "layers.0.ffn_residual");
     },
     "reuse-after-use", "is freed while it is being sent to rank 1"},
    {"SendNeverWaitedFor", "torch: send works kept to the end, then dropped",
     "qwen3-1f1b",
     [](Plan &, Editor edit) {
       edit.erase(0, edit.step(0, StepKind::wait_send, 0, 3));
     },
     "end-of-step", "leak: no wait_send for value"},
    {"WaitForASendThatIsNot", "a handle waited for twice", "qwen3-1f1b",
     [](Plan &, Editor edit) {
       edit.erase(0, edit.step(0, StepKind::send, 0, 0));
     },
     "one-release", "was not sent to that peer before"},
    {"ForwardedBeforeItArrived", "a receive used without its wait",
     "qwen3-1f1b",
     [](Plan &, Editor edit) {
       Step send = edit.steps(1)[edit.step(1, StepKind::receive, 1, 0)];
       send.kind = StepKind::send;
       edit.steps(1).insert(edit.steps(1).begin() + 1, send);
     },
     "read-after-write", "is still being received"},
    {"CrossedSends", "P2P without tags: order is all that matches",
     "qwen3-1f1b",
     [](Plan &, Editor edit) {
       // Rank 1 takes microbatch 2 first.
       for (Step &step : edit.steps(1))
         if (step.microbatch == 1 || step.microbatch == 2)
           step.microbatch = 3 - step.microbatch;
     },
     "messages", "but 1 is sent; it meets"},
    {"OtherShapeThanWasSent", "torch: boundary shapes must be static",
     "qwen3-1f1b",
     [](Plan &, Editor edit) {
       Value &input = edit.valueOf("s1", "input");
       input.shape = {input.shape[1] * 2, input.shape[0] / 2};
     },
     "messages", "it meets"},
    {"SendWithoutReceive", "torch validator: comm presence is not checked",
     "qwen3-forward",
     [](Plan &, Editor edit) {
       // A gradient that no stage takes, as in a frozen prefix.
       int64_t at = edit.step(1, StepKind::collect_loss, 1, 0);
       Step send = edit.steps(1)[at];
       send.kind = StepKind::send;
       send.peer = 0;
       Step wait = send;
       wait.kind = StepKind::wait_send;
       // The send takes the place of the collection.
       edit.steps(1)[at] = send;
       edit.steps(1).insert(edit.steps(1).begin() + at + 1, wait);
     },
     "messages", "rank 0 has no receive for this send"},
    {"InputNeverReceived", "RECV_F must precede F", "qwen3-1f1b",
     [](Plan &, Editor edit) {
       edit.erase(1, edit.step(1, StepKind::receive, 1, 2));
     },
     "one-release",
     "value \"input\" of stage \"s1\", microbatch 2 is not live"},

    //===------------------------------------------------------------------===//
    // Ranks
    //===------------------------------------------------------------------===//
    {"BothWaitBeforeTheyPost",
     "blocking sends on both sides: the classic deadlock", "qwen3-1f1b",
     [](Plan &, Editor edit) {
       // Rank 0 waits for its second send before it posts the receive that
       // rank 1 waits for before it posts the receive of that send.
       edit.move(0, edit.step(0, StepKind::wait_send, 0, 1),
                 edit.run(0, 0, kBackward, 0));
       edit.move(0, edit.step(0, StepKind::receive, 0, 0),
                 edit.run(0, 0, kBackward, 0));
       edit.move(1, edit.step(1, StepKind::wait_send, 1, 0),
                 edit.step(1, StepKind::receive, 1, 1));
     },
     "no-deadlock", "deadlock: waits for rank"},
    {"WaitsForAMessageOfItsOwnFuture", "an order that no run can follow",
     "qwen3-forward",
     [](Plan &, Editor edit) {
       // Both ranks meet in an update; rank 0 still has to send behind it.
       Step update;
       update.kind = StepKind::update;
       edit.steps(0).insert(
           edit.steps(0).begin() + edit.step(0, StepKind::send, 0, 3), update);
       edit.steps(1).push_back(update);
     },
     "no-deadlock", "deadlock: waits for rank 1, which never gets past"},
    {"OneRankSkipsTheReduction",
     "torch compute_comms without REDUCE_GRAD on one rank", "qwen3-1f1b",
     [](Plan &, Editor edit) {
       edit.erase(1, edit.step(1, StepKind::reduce_gradients));
     },
     "collectives", "ranks meet in different steps"},
    {"CrossedMeetings", "two collectives in different order", "qwen3-1f1b",
     [](Plan &, Editor edit) {
       auto &steps = edit.steps(1);
       std::swap(steps[steps.size() - 1], steps[steps.size() - 2]);
     },
     "gradients", "before the update"},
    {"ReducedBeforeTheLastGradient",
     "gradients summed while a backward still adds", "qwen3-1f1b",
     [](Plan &, Editor edit) {
       for (int64_t rank : {0, 1})
         edit.move(rank, edit.step(rank, StepKind::reduce_gradients),
                   edit.run(rank, rank, kBackward, 3));
     },
     "gradients", "gradients change after they were reduced"},
    {"BackwardBeforeForward", "torch validator V2", "qwen3-1f1b",
     [](Plan &, Editor edit) {
       edit.steps(1)[edit.run(1, 1, kForward, 0)].phase = kBackward;
     },
     "gradients", "the forward program has not run"},
    {"ForwardTwice", "torch validator: duplicates are not checked",
     "qwen3-1f1b",
     [](Plan &, Editor edit) {
       int64_t at = edit.run(0, 0, kForward, 0);
       Step again = edit.steps(0)[at];
       edit.steps(0).insert(edit.steps(0).begin() + at, again);
     },
     "gradients", "the forward program has run for microbatch 0 already"},
    {"BackwardForgotten", "a microbatch without gradients", "qwen3-1f1b",
     [](Plan &, Editor edit) { edit.erase(0, edit.run(0, 0, kBackward, 3)); },
     "end-of-step", "is live after the last step"},
    {"WeightGradientForgotten", "zero bubble: W never follows I",
     "qwen3-dualpipe-v",
     [](Plan &, Editor edit) {
       for (int64_t m = 3; m >= 0; --m)
         for (size_t i = 0; i < edit.steps(0).size(); ++i)
           if (edit.steps(0)[i].kind == StepKind::run &&
               edit.steps(0)[i].phase == Phase::weight_grad) {
             edit.erase(0, static_cast<int64_t>(i));
             return;
           }
     },
     "disjoint", "overlaps value"},
    {"OverlapsItsOwnBackward", "DualPipe pairs different microbatches",
     "overlap",
     [](Plan &, Editor edit) {
       Step &step = edit.steps(0)[edit.step(0, StepKind::overlap)];
       step.secondMicrobatch = step.microbatch;
     },
     "gradients", "programs of one stage overlap for different microbatches"},
    {"LossNeverCollected", "losses of some microbatches are dropped", "tiny",
     [](Plan &plan, Editor) { plan.layout.microbatches = 3; }, "loss",
     "no step collects the loss of microbatch 2"},
    {"UsedBeforeItIsMade", "ops out of order", "qwen3-1f1b",
     [](Plan &, Editor edit) {
       std::vector<Op> &ops = edit.program("s0", kForward).ops;
       std::swap(ops[2], ops[5]);
     },
     "read-after-write", "is used before it is written"},
    {"WrittenTwice", "single assignment", "qwen3-1f1b",
     [](Plan &, Editor edit) {
       edit.op("s0", kForward, "layers.0.attention.k_proj").outputs =
           edit.op("s0", kForward, "layers.0.attention.q_proj").outputs;
     },
     "one-release", "is written a second time"},
    {"LogitsKeptToTheEnd",
     "torch stage.py: outputs of the last stage stay to the end of the step",
     "qwen3-1f1b",
     [](Plan &plan, Editor edit) {
       // Their gradient has bytes of its own, and nobody ends the logits.
       Value &gradient = edit.valueOf("s1", "loss.input_grad");
       gradient.overwrites = gradient.group = -1;
       gradient.placement = Placement::fixed;
       gradient.offset = plan.ranks[1].arenaBytes;
       plan.ranks[1].arenaBytes += gradient.bytes;
     },
     "disjoint", "overlaps value"},

    //===------------------------------------------------------------------===//
    // Claims
    //===------------------------------------------------------------------===//
    {"OpClaimsTooLittle", "estimators that are 2 to 25 % wrong", "qwen3-1f1b",
     [](Plan &, Editor edit) {
       edit.op("s0", kForward, kDispatch).live[MemoryClass::handles] -= 256;
     },
     "claims", "bytes of class \"handles\", the replay has"},
    {"StepClaimsTooLittle", "estimators that are 2 to 25 % wrong", "qwen3-1f1b",
     [](Plan &, Editor edit) {
       edit.steps(0)[5].live[MemoryClass::saved] -= 256;
     },
     "claims", "bytes of class \"saved\", the replay has"},
    {"PeakClaimsTooLittle", "Megatron #5077: 31.8 % low", "qwen3-1f1b",
     [](Plan &plan, Editor) {
       plan.ranks[0].peak[MemoryClass::transient] -= 256;
     },
     "claims", "the replay has its peak"},
    {"ClaimsToFit", "a plan that runs out of memory", "qwen3-1f1b",
     [](Plan &plan, Editor) { plan.machine.budgetBytes = 1; }, "claims",
     "exceed the budget"},
};

} // namespace

std::span<const WrongPlan> test::wrongPlans() { return kCorpus; }
