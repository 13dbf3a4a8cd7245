//===- InterfacesTest.cpp - what ops of the moe dialect answer ------------===//

#include "dialects/MoE/IR/MoE.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/IR/BuiltinOps.h"
#include "mlir/IR/Verifier.h"
#include "mlir/Parser/Parser.h"
#include "gmock/gmock.h"

using namespace mlir;
using namespace moe;
using testing::ElementsAre;
using testing::IsEmpty;
using testing::UnorderedElementsAre;

namespace {

// A layer's worth of ops with small sizes: T = 8, H = 16, k = 2, E = 4 on two
// ranks, sequences of 4.
constexpr const char *kForward = R"mlir(
moe.parameter @table : tensor<64x16xbf16> dense #moe.initializer<zeros>
moe.parameter @norm : tensor<16xbf16> dense #moe.initializer<ones>
moe.parameter @q : tensor<32x16xbf16> dense #moe.initializer<zeros>
moe.parameter @sinks : tensor<2xbf16> dense #moe.initializer<zeros>
moe.parameter @router : tensor<4x16xbf16> dense #moe.initializer<zeros>
moe.parameter @up : tensor<2x16x16xbf16> expert #moe.initializer<zeros>
moe.parameter @down : tensor<2x16x8xbf16> expert #moe.initializer<zeros>
moe.parameter @down_bias : tensor<2x16xbf16> expert #moe.initializer<zeros>
#rows = #moe.rows<balanced = 16, capacity = 20>
!handle = !moe.handle<tokens = 8, top_k = 2, experts = 4>
func.func @f(%tokens: tensor<8xi32>, %k: tensor<8x16xbf16>, %v: tensor<8x16xbf16>, %nope: tensor<8x16xbf16>, %pe: tensor<8x4xbf16>, %scores: tensor<8x2xf32>) {
  %x = moe.embedding %tokens, @table : (tensor<8xi32>) -> tensor<8x16xbf16> loc("embedding")
  %n, %i = moe.rms_norm %x, @norm epsilon 1.0e-6 : (tensor<8x16xbf16>) -> (tensor<8x16xbf16>, tensor<8x1xf32>) loc("norm")
  %q = moe.linear %n, @q : (tensor<8x16xbf16>) -> tensor<8x32xbf16> loc("linear")
  %r = moe.rope %q heads 2 sequence 4 rotary <dim = 16> : tensor<8x32xbf16> loc("rope")
  %key = moe.mla_key %nope, %pe heads 2 sequence 4 rotary <dim = 4> : (tensor<8x16xbf16>, tensor<8x4xbf16>) -> tensor<8x24xbf16> loc("mla_key")
  %o, %lse = moe.attention %r, %k, %v sinks @sinks heads 2 kv_heads 1 qk_dim 16 v_dim 16 sequence 4 scale 0.25 window 2
      : (tensor<8x32xbf16>, tensor<8x16xbf16>, tensor<8x16xbf16>) -> (tensor<8x32xbf16>, tensor<2x8xf32>) loc("attention")
  %sum = moe.add %x, %n : tensor<8x16xbf16> loc("add")
  %l = moe.linear %n, @router : (tensor<8x16xbf16>) -> tensor<8x4xf32> loc("router")
  %p, %e = moe.route %l routing <top_k = 2, scoring = softmax, normalize = true> : (tensor<8x4xf32>) -> (tensor<8x2xf32>, tensor<8x2xi32>) loc("route")
  %rows, %rp, %c, %h = moe.dispatch %n, %p, %e top_k 2 experts 4 ranks 2 capacity 20
      : (tensor<8x16xbf16>, tensor<8x2xf32>, tensor<8x2xi32>) -> (tensor<?x16xbf16, #rows>, tensor<?xf32, #rows>, tensor<2xi32>, !handle) loc("dispatch")
  %u = moe.grouped_linear %rows, %c, @up : (tensor<?x16xbf16, #rows>, tensor<2xi32>) -> tensor<?x16xbf16, #rows> loc("up")
  %a = moe.swiglu %u scale %rp counts %c activation <limit = 7.0> : (tensor<?x16xbf16, #rows>, tensor<?xf32, #rows>, tensor<2xi32>) -> tensor<?x8xbf16, #rows> loc("swiglu")
  %d = moe.grouped_linear %a, %c, @down bias @down_bias scale %rp : (tensor<?x8xbf16, #rows>, tensor<2xi32>, tensor<?xf32, #rows>) -> tensor<?x16xbf16, #rows> loc("down")
  %y = moe.combine %d, %h top_k 2 experts 4 ranks 2 capacity 20 groups 2 top_groups 1 : (tensor<?x16xbf16, #rows>, !handle) -> tensor<8x16xbf16> loc("combine")
  %loss, %z = moe.cross_entropy %y, %tokens grad_scale 0.125 : (tensor<8x16xbf16>, tensor<8xi32>) -> (tensor<1xf32>, tensor<8xf32>) loc("loss")
  return
}
)mlir";

class Interfaces : public testing::Test {
protected:
  Interfaces() {
    context.loadDialect<MoEDialect, func::FuncDialect>();
    module = parseSourceString<ModuleOp>(kForward, &context);
  }

  Operation *find(StringRef name) {
    Operation *found = nullptr;
    module->walk([&](Operation *op) {
      if (getOpName(op) == name)
        found = op;
    });
    EXPECT_NE(found, nullptr) << name.str();
    return found;
  }
  OpCost cost(StringRef name) {
    return cast<CostOpInterface>(find(name)).getCost();
  }

  MLIRContext context;
  OwningOpRef<ModuleOp> module;
};

TEST_F(Interfaces, SizesUseCapacityAndBalance) {
  ASSERT_TRUE(module);
  auto dispatch = cast<DispatchOp>(find("dispatch"));
  auto type = cast<RankedTensorType>(dispatch.getRows().getType());
  EXPECT_EQ(getCapacityRows(type), 20);
  EXPECT_THAT(getCapacityShape(type), ElementsAre(20, 16));
  EXPECT_EQ(getByteSize(type), 20 * 16 * 2);
  EXPECT_EQ(getBalancedByteSize(type), 16 * 16 * 2);
  // 8 tokens * 2 choices + 2 * 4 experts.
  EXPECT_EQ(getByteSize(dispatch.getHandle().getType()), 4 * (16 + 8));
}

TEST_F(Interfaces, CostsFollowTheDefinitions) {
  ASSERT_TRUE(module);
  OpCost linear = cost("linear");
  EXPECT_EQ(linear.flops, 2.0 * 8 * 16 * 32);
  EXPECT_EQ(linear.bytes, 2 * (8 * 16 + 32 * 16 + 8 * 32));
  EXPECT_EQ(linear.opClass, "gemm");
  EXPECT_EQ(linear.linkBytes, 0);

  // Balanced rows, not capacity.
  OpCost down = cost("down");
  EXPECT_EQ(down.flops, 2.0 * 16 * 8 * 16);
  EXPECT_EQ(down.bytes,
            2 * (16 * 8 + 16 * 16 + 2 * 16 * 8 + 2 * 16) + 2 * 4 + 16 * 4);
  EXPECT_EQ(down.opClass, "grouped_gemm");
  EXPECT_EQ(down.parts, 2); // local experts
  EXPECT_EQ(linear.parts, 1);

  // Windows of 2 in sequences of 4: 1 + 2 + 2 + 2 pairs, two sequences, two
  // heads, 16 columns for scores and 16 for values.
  EXPECT_EQ(cost("attention").flops, 7 * 2 * 2 * 2.0 * (16 + 16));
  EXPECT_EQ(cost("attention").opClass, "attention");
  EXPECT_EQ(cost("attention").parts, 2 * 2); // sequences, heads

  // Of 16 rows of 32 bytes and a probability each, half leave the rank.
  EXPECT_EQ(cost("dispatch").linkBytes, 16 * (32 + 4) / 2);
  EXPECT_EQ(cost("combine").linkBytes, 16 * 32 / 2);
  EXPECT_EQ(cost("combine").opClass, "exchange");
  OpCost::Exchange exchange = cost("dispatch").exchange;
  EXPECT_EQ(exchange.tokens, 8);
  EXPECT_EQ(exchange.rowBytes, 32 + 4);
  EXPECT_EQ(exchange.topK, 2);
  EXPECT_EQ(exchange.experts, 4);
  EXPECT_EQ(exchange.groups, 1);
  EXPECT_EQ(cost("combine").exchange.rowBytes, 32);
  EXPECT_EQ(cost("combine").exchange.groups, 2);
  EXPECT_EQ(cost("combine").exchange.topGroups, 1);
  EXPECT_EQ(cost("linear").exchange.tokens, 0);
}

TEST_F(Interfaces, ExchangesAreCollectivesOnTheirOwnStream) {
  ASSERT_TRUE(module);
  module->walk([&](KernelOpInterface op) {
    Operation *each = op;
    bool exchange = isa<DispatchOp, CombineOp>(each);
    EXPECT_EQ(cast<RecomputableOpInterface>(each).hasCollective(), exchange);
    EXPECT_EQ(isExchange(each), exchange);
    EXPECT_EQ(cast<StreamOpInterface>(each).getStreamKind(),
              exchange ? StreamKind::expert_communication
                       : StreamKind::compute);
    EXPECT_EQ(cast<RecomputableOpInterface>(each).isReplayable(),
              !isa<RouteOp>(each));
    for (unsigned i = 0; i < each->getNumResults(); ++i)
      EXPECT_FALSE(cast<AliasOpInterface>(each).getAliasedOperand(i));
  });
  // 16 rows of 32 bytes, and 16 sums of 4 bytes rounded up.
  Scratch scratch = cast<ScratchOpInterface>(find("dispatch")).getScratch();
  EXPECT_EQ(scratch.bytes, 512 + 256);
  EXPECT_EQ(scratch.memoryClass, "expert_communication");
  EXPECT_EQ(cast<ScratchOpInterface>(find("combine")).getScratch().bytes, 512);
  EXPECT_EQ(cast<ScratchOpInterface>(find("linear")).getScratch().bytes, 0);
}

TEST_F(Interfaces, KernelsListTheirPlacesInThePlan) {
  ASSERT_TRUE(module);
  auto up = cast<KernelOpInterface>(find("up"));
  SmallVector<Value> inputs = up.getKernelInputs();
  ASSERT_EQ(inputs.size(), 3u);
  EXPECT_TRUE(inputs[0] && inputs[1] && !inputs[2]);
  SmallVector<ParameterUse> parameters = up.getParameters();
  ASSERT_EQ(parameters.size(), 2u);
  EXPECT_EQ(parameters[0].symbol.getValue(), "up");
  EXPECT_FALSE(parameters[1].symbol);
  SmallVector<Value> outputs =
      cast<KernelOpInterface>(find("route")).getKernelOutputs();
  ASSERT_EQ(outputs.size(), 3u);
  EXPECT_FALSE(outputs[2]);

  auto names = [&](StringRef op) {
    std::vector<std::string> result;
    for (NamedAttribute attribute : getKernelAttributes(find(op)))
      result.push_back(attribute.getName().str());
    return result;
  };
  EXPECT_THAT(names("norm"), UnorderedElementsAre("epsilon", "groups"));
  // What only the cost needs is not part of the plan.
  EXPECT_THAT(names("combine"),
              UnorderedElementsAre("top_k", "experts", "ranks", "capacity"));
  EXPECT_THAT(names("route"),
              UnorderedElementsAre("top_k", "scoring", "normalize", "groups",
                                   "top_groups", "group_score", "scale"));
  EXPECT_THAT(names("rope"),
              UnorderedElementsAre(
                  "heads", "sequence_length", "rotary_begin", "rotary_dim",
                  "rotary_interleaved", "rotary_theta", "yarn_factor",
                  "yarn_original_length", "yarn_beta_fast", "yarn_beta_slow",
                  "yarn_truncate", "rotary_scale"));
  EXPECT_THAT(names("swiglu"),
              UnorderedElementsAre("limit", "alpha", "up_offset"));
  EXPECT_THAT(names("loss"), IsEmpty());
  EXPECT_THAT(names("down"), IsEmpty());
}

/// Builds the gradients of one op; says which forward values they use.
struct Gradients {
  std::vector<std::string> inputOps, weightOps, inputUses, weightUses;
  SmallVector<Value> operands;
};

Gradients differentiate(Operation *op) {
  OpBuilder builder(op->getBlock()->getTerminator());
  Gradients result;
  // Every real result that is not a by-product gets a gradient of its own.
  SmallVector<Value> resultGradients;
  SmallVector<Operation *> standIns;
  for (Value value : op->getResults()) {
    auto type = dyn_cast<RankedTensorType>(value.getType());
    bool byProduct =
        isa<CrossEntropyOp>(op) ||
        (isa<RmsNormOp, AttentionOp>(op) && value != op->getResult(0));
    if (byProduct || !type || !isa<FloatType>(type.getElementType())) {
      resultGradients.push_back({});
      continue;
    }
    standIns.push_back(AddOp::create(builder, op->getLoc(), value, value));
    resultGradients.push_back(standIns.back()->getResult(0));
  }
  auto collect = [&](Operation *before, std::vector<std::string> &ops,
                     std::vector<std::string> &uses) {
    Operation *end = op->getBlock()->getTerminator();
    for (Operation *made = before->getNextNode(); made != end;
         made = made->getNextNode()) {
      ops.push_back(made->getName().getStringRef().drop_front(4).str() + " " +
                    getOpName(made).str());
      for (Value operand : made->getOperands()) {
        for (OpOperand &own : op->getOpOperands())
          if (own.get() == operand)
            uses.push_back("in" + std::to_string(own.getOperandNumber()));
        if (operand.getDefiningOp() == op)
          uses.push_back(
              "out" +
              std::to_string(cast<OpResult>(operand).getResultNumber()));
      }
    }
  };
  auto interface = cast<DifferentiableOpInterface>(op);
  result.operands.resize(op->getNumOperands());
  Operation *last = op->getBlock()->getTerminator()->getPrevNode();
  EXPECT_TRUE(succeeded(interface.buildInputGradients(builder, resultGradients,
                                                      result.operands)));
  collect(last, result.inputOps, result.inputUses);
  last = op->getBlock()->getTerminator()->getPrevNode();
  EXPECT_TRUE(
      succeeded(interface.buildWeightGradients(builder, resultGradients)));
  collect(last, result.weightOps, result.weightUses);
  return result;
}

TEST_F(Interfaces, GradientsUseNoMoreThanTheirFormulas) {
  ASSERT_TRUE(module);
  struct Case {
    const char *op;
    std::vector<std::string> inputOps, inputUses, weightOps, weightUses;
  };
  const std::vector<Case> cases = {
      {"embedding",
       {},
       {},
       {"embedding_weight_grad embedding.weight_grad"},
       {"in0"}},
      {"norm",
       {"rms_norm_input_grad norm.input_grad"},
       {"in0", "out1"},
       {"rms_norm_weight_grad norm.weight_grad"},
       {"in0", "out1"}},
      {"linear",
       {"linear_input_grad linear.input_grad"},
       {},
       {"linear_weight_grad linear.weight_grad"},
       {"in0"}},
      {"router",
       {"linear_input_grad router.input_grad"},
       {},
       {"linear_weight_grad router.weight_grad"},
       {"in0"}},
      {"rope", {"rope_input_grad rope.input_grad"}, {}, {}, {}},
      {"mla_key", {"mla_key_input_grad mla_key.input_grad"}, {}, {}, {}},
      {"attention",
       {"attention_input_grad attention.input_grad"},
       {"in0", "in1", "in2", "out0", "out1"},
       {"attention_sink_grad attention.weight_grad"},
       {"out0", "out1"}},
      {"add", {}, {}, {}, {}},
      {"route",
       {"route_input_grad route.input_grad"},
       {"out0", "out1"},
       {},
       {}},
      {"dispatch",
       {"dispatch_input_grad dispatch.input_grad"},
       {"out3"},
       {},
       {}},
      {"up",
       {"grouped_linear_input_grad up.input_grad"},
       {"in1"},
       {"grouped_linear_weight_grad up.weight_grad"},
       {"in0", "in1"}},
      {"swiglu",
       {"swiglu_input_grad swiglu.input_grad"},
       {"in0", "in1", "in2"},
       {},
       {}},
      {"down",
       {"grouped_linear_input_grad down.input_grad",
        "grouped_linear_bias_scale_grad down.bias_scale_grad"},
       {"in1", "in1"},
       {"grouped_linear_weight_grad down.weight_grad"},
       {"in0", "in1", "in2"}},
      {"combine", {"combine_input_grad combine.input_grad"}, {"in1"}, {}, {}},
      {"loss",
       {"cross_entropy_input_grad loss.input_grad"},
       {"in0", "in1", "out1"},
       {},
       {}},
  };
  for (const Case &each : cases) {
    SCOPED_TRACE(each.op);
    Operation *op = find(each.op);
    Gradients made = differentiate(op);
    EXPECT_EQ(made.inputOps, each.inputOps);
    EXPECT_EQ(made.inputUses, each.inputUses);
    EXPECT_EQ(made.weightOps, each.weightOps);
    EXPECT_EQ(made.weightUses, each.weightUses);
    // A gradient has the type of what it is the gradient of; integers and
    // handles have none.
    for (auto [operand, gradient] :
         llvm::zip_equal(op->getOperands(), made.operands)) {
      auto type = dyn_cast<RankedTensorType>(operand.getType());
      bool real = type && isa<FloatType>(type.getElementType());
      EXPECT_EQ(real, gradient != nullptr);
      if (gradient) {
        EXPECT_EQ(gradient.getType(), operand.getType());
      }
    }
  }
  EXPECT_TRUE(succeeded(verify(*module)));
  // Those of exchanges are exchanges.
  int64_t exchanges = 0;
  module->walk([&](StreamOpInterface op) {
    EXPECT_EQ(isExchange(op),
              op.getStreamKind() == StreamKind::expert_communication);
    exchanges += isExchange(op);
  });
  EXPECT_EQ(exchanges, 4);
}

TEST_F(Interfaces, GradientsThatDoNotSufficeAreRefused) {
  ASSERT_TRUE(module);
  std::vector<std::string> messages;
  ScopedDiagnosticHandler handler(&context, [&](Diagnostic &diagnostic) {
    messages.push_back(diagnostic.str());
    return success();
  });
  OpBuilder builder(find("loss"));
  auto dispatch = cast<DispatchOp>(find("dispatch"));
  SmallVector<Value> operandGradients(3);
  // Stands in for a gradient: a value of the same type.
  SmallVector<Value> one = {dispatch.getRows(), Value(), Value(), Value()};
  EXPECT_TRUE(
      failed(dispatch.buildInputGradients(builder, one, operandGradients)));
  SmallVector<Value> none(4);
  EXPECT_TRUE(
      succeeded(dispatch.buildInputGradients(builder, none, operandGradients)));
  auto loss = cast<CrossEntropyOp>(find("loss"));
  loss.removeGradScaleAttr();
  SmallVector<Value> lossGradients(2);
  EXPECT_TRUE(
      failed(loss.buildInputGradients(builder, ValueRange(), lossGradients)));
  EXPECT_THAT(messages, ElementsAre(testing::HasSubstr("only one of rows and "
                                                       "row_probabilities"),
                                    testing::HasSubstr("needs `grad_scale`")));
}

} // namespace
