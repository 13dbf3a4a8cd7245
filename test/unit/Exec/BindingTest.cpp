#include "TinyPlan.h"

#include "runtime/Exec/Shapes.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

using namespace moe;
using namespace moe::test;
using testing::HasSubstr;

namespace {

/// A change to an op of the forward program and what binding says about it.
struct Damage {
  const char *op;
  std::function<void(plan::Plan &, plan::Op &)> change;
  const char *message;
};

std::string bind(const plan::Plan &plan) {
  auto binding = exec::Binding::create(plan);
  return binding ? "" : binding.error().message;
}

plan::Op &find(plan::Plan &plan, const std::string &name) {
  for (plan::Stage &stage : plan.stages)
    for (plan::Program &program : stage.programs)
      for (plan::Op &op : program.ops)
        if (op.name == name)
          return op;
  ADD_FAILURE() << "no op " << name;
  return plan.stages[0].programs[0].ops[0];
}

TEST(Binding, NamesWhatIsWrongWithAnOp) {
  plan::Plan good = makePlan({.expert = 2, .experts = true});
  ASSERT_EQ(bind(good), "");
  const Damage damages[] = {
      {"norm", [](auto &, auto &op) { op.kind = "layer_norm"; },
       "stage s0, forward, op 'norm' (layer_norm): the runtime has no such "
       "kind of op"},
      {"norm", [](auto &, auto &op) { op.inputs.push_back(0); },
       "takes 1 inputs, has 2"},
      {"norm", [](auto &, auto &op) { op.outputs.pop_back(); },
       "takes 2 outputs, has 1"},
      {"norm", [](auto &, auto &op) { op.parameters.clear(); },
       "takes 1 parameters, has 0"},
      {"norm", [](auto &, auto &op) { op.inputs[0] = -1; }, "'x' is missing"},
      {"norm", [](auto &, auto &op) { op.attributes.erase("epsilon"); },
       "attribute 'epsilon' is missing"},
      {"norm", [](auto &, auto &op) { op.attributes["epsilom"] = 1.0; },
       "attribute 'epsilom' is unknown"},
      {"norm", [](auto &, auto &op) { op.attributes["groups"] = int64_t{0}; },
       "attribute 'groups' must be an integer of at least 1"},
      {"norm", [](auto &, auto &op) { op.attributes["groups"] = int64_t{3}; },
       "'x' is f32[10,8]: groups*D must be a multiple of 3, is 8"},
      {"norm", [](auto &, auto &op) { op.attributes["groups"] = int64_t{2}; },
       "'weight' is f32[8]: D must be 4, is 8"},
      {"norm",
       [](auto &, auto &op) { std::swap(op.outputs[0], op.outputs[1]); },
       "'out' is f32[10,1]: groups*D must be 8, is 1"},
      {"embedding",
       [](auto &p, auto &op) { op.inputs[0] = find(p, "route").outputs[1]; },
       "'tokens' is i32[10,2]: must have 1 dimensions"},
      {"route",
       [](auto &, auto &op) { op.attributes["scoring"] = std::string("tanh"); },
       "attribute 'scoring' must be a word that the runtime knows, is 'tanh'"},
      {"route", [](auto &, auto &op) { op.attributes["normalize"] = false; },
       "scores must have 4 columns (0: absent), has 0"},
      {"route", [](auto &, auto &op) { op.attributes["groups"] = int64_t{4}; },
       "top_k 2 exceeds the 1 experts to choose from"},
      {"route", [](auto &, auto &op) { op.attributes["groups"] = int64_t{3}; },
       "groups 3 and top_groups 1 do not fit 4 experts"},
      {"layers.0.dispatch", [](auto &, auto &op) { op.scratchBytes = 256; },
       "bytes of scratch, has 256"},
      {"layers.0.dispatch",
       [](auto &, auto &op) { op.attributes["ranks"] = int64_t{1}; },
       "counts must have 4 elements, has 2"},
      {"layers.0.dispatch",
       [](auto &, auto &op) { op.attributes["ranks"] = int64_t{3}; },
       "experts 4 must be a multiple of ranks 3"},
      {"layers.0.dispatch",
       [](auto &, auto &op) { op.attributes["capacity"] = int64_t{39}; },
       "'rows' is f32[40,8]: C must be 39, is 40"},
      {"layers.0.combine",
       [](auto &p, auto &op) {
         p.stages[0].values.push_back(
             p.stages[0].values[static_cast<size_t>(op.inputs[1])]);
         op.inputs[1] = static_cast<int64_t>(p.stages[0].values.size()) - 1;
       },
       "'handle' must come from a dispatch"},
      {"up_weight_grad",
       [](auto &p, auto &) {
         for (auto &parameter : p.stages[0].parameters)
           parameter.trainable = false;
       },
       "is not trainable and has no gradient"},
      {"act_grad", [](auto &, auto &op) { op.outputs[1] = -1; },
       "d_row_scale must be present exactly when row_scale is"},
      {"residual", [](auto &, auto &op) { op.inputs[1] = 0; },
       "'b' is i32[10]: must be f32"},
  };
  for (const Damage &damage : damages) {
    plan::Plan plan = good;
    damage.change(plan, find(plan, damage.op));
    EXPECT_THAT(bind(plan), HasSubstr(damage.message));
  }
}

// What a kernel may overwrite is part of its entry: the pairs below are all.
TEST(Binding, KernelsOverwriteOnlyWhatTheyMay) {
  plan::Plan good = makePlan({.expert = 2, .experts = true});
  int64_t allowed = 0, refused = 0;
  for (size_t s = 0; s < good.stages.size(); ++s)
    for (size_t p = 0; p < good.stages[s].programs.size(); ++p)
      for (size_t o = 0; o < good.stages[s].programs[p].ops.size(); ++o) {
        const plan::Op &op = good.stages[s].programs[p].ops[o];
        for (size_t i = 0; i < op.inputs.size(); ++i)
          for (plan::ValueIndex output : op.outputs) {
            if (output < 0 || op.inputs[i] < 0)
              continue;
            plan::Plan plan = good;
            plan.stages[s].values[static_cast<size_t>(output)].overwrites =
                op.inputs[i];
            bool isFirst = output == op.outputs[0];
            if (isFirst && ((op.kind == "cross_entropy_input_grad" && i == 0) ||
                            (op.kind == "swiglu_input_grad" && i == 1))) {
              EXPECT_EQ(bind(plan), "");
              ++allowed;
            } else {
              EXPECT_THAT(bind(plan),
                          HasSubstr("which the kernel may still have to read"))
                  << op.name;
              ++refused;
            }
          }
      }
  EXPECT_EQ(allowed, 2);
  EXPECT_GT(refused, 20);
}

TEST(Binding, RefusesLayoutsThatItDoesNotExecute) {
  plan::Plan plan = makePlan({});
  plan.layout.tensor = 2;
  EXPECT_THAT(bind(plan), HasSubstr("layouts with 1 and 1"));
}

TEST(Binding, EveryKindOfTheDialectHasAnEntry) {
  const char *kinds[] = {"embedding",
                         "rms_norm",
                         "linear",
                         "rope",
                         "mla_key",
                         "attention",
                         "add",
                         "route",
                         "dispatch",
                         "grouped_linear",
                         "swiglu",
                         "combine",
                         "cross_entropy",
                         "rms_norm_input_grad",
                         "linear_input_grad",
                         "rope_input_grad",
                         "mla_key_input_grad",
                         "attention_input_grad",
                         "route_input_grad",
                         "dispatch_input_grad",
                         "grouped_linear_input_grad",
                         "grouped_linear_bias_scale_grad",
                         "swiglu_input_grad",
                         "combine_input_grad",
                         "cross_entropy_input_grad",
                         "embedding_weight_grad",
                         "rms_norm_weight_grad",
                         "linear_weight_grad",
                         "grouped_linear_weight_grad",
                         "attention_sink_grad"};
  for (const char *kind : kinds) {
    const exec::Signature *signature = exec::findSignature(kind);
    ASSERT_TRUE(signature) << kind;
    EXPECT_TRUE(signature->call) << kind;
    for (const auto *list :
         {&signature->inputs, &signature->parameters, &signature->outputs})
      for (std::string_view text : *list) {
        exec::OperandPattern pattern = exec::parseOperand(text);
        EXPECT_NE(std::string_view("sfix").find(pattern.type),
                  std::string_view::npos);
        EXPECT_FALSE(pattern.dims.empty()) << kind << ": " << text;
      }
  }
  EXPECT_FALSE(exec::findSignature("layer_norm"));
}

} // namespace
