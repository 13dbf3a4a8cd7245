//===- ImportModelTest.cpp - configurations as Level A IR -----------------===//

#include "compiler/Import/IR/ImportModel.h"
#include "test/unit/Import/TestConfigs.h"

#include <random>

namespace moe {
namespace {

/// Parameters of a model, counted over its IR.
model::ParameterCounts countIr(const model::ModelConfig &config) {
  mlir::MLIRContext context(mlir::MLIRContext::Threading::DISABLED);
  context.loadDialect<MoEDialect>();
  mlir::OwningOpRef<mlir::ModuleOp> module =
      importModel(context, config, mlir::BFloat16Type::get(&context));
  EXPECT_TRUE(module);
  return module ? countParameters(*module->getOps<ModelOp>().begin())
                : model::ParameterCounts();
}

TEST(ImportModel, IrAndConfigurationHaveTheSameParameters) {
  for (const std::string &name : model::exampleNames()) {
    model::ModelConfig config = model::example(name);
    EXPECT_EQ(countIr(config), model::countParameters(config)) << name;
  }
}

TEST(ImportModel, AlsoWhenReduced) {
  const char *keys[] = {"layers",       "mtp",          "hidden",
                        "vocabulary",   "heads",        "kv_heads",
                        "head_dim",     "window",       "q_lora_rank",
                        "kv_lora_rank", "nope_dim",     "rope_dim",
                        "v_dim",        "intermediate", "experts",
                        "top_k",        "groups",       "moe_intermediate",
                        "first_dense",  "top_groups",   "shared_intermediate"};
  std::mt19937 random(1);
  int compared = 0;
  for (int i = 0; i < 1000; ++i) {
    const auto &names = model::exampleNames();
    model::ModelConfig config = model::example(names[random() % names.size()]);
    for (int n = 0; n < 4; ++n) {
      std::string change = std::string(keys[random() % std::size(keys)]) + "=" +
                           std::to_string(1 << (random() % 8));
      if (Result<model::ModelConfig> reduced = model::reduce(config, change))
        config = *reduced;
    }
    if (config.reductions.empty())
      continue;
    ++compared;
    EXPECT_EQ(countIr(config), model::countParameters(config))
        << model::printConfig(config);
  }
  EXPECT_GT(compared, 300);
}

TEST(ImportModel, StorageAndTokens) {
  mlir::MLIRContext context(mlir::MLIRContext::Threading::DISABLED);
  context.loadDialect<MoEDialect>();
  auto module = importModel(context, model::example("mixtral-8x7b"),
                            mlir::Float64Type::get(&context), 128);
  ASSERT_TRUE(module);
  ModelOp model = *module->getOps<ModelOp>().begin();
  EXPECT_EQ(model.getSymName(), "mixtral-8x7b");
  auto embedding = *model.getBody().getOps<InputEmbeddingOp>().begin();
  EXPECT_EQ(embedding.getHidden().getType(),
            mlir::RankedTensorType::get({128, 4096},
                                        mlir::Float64Type::get(&context)));
  auto loss = *model.getBody().getOps<LmLossOp>().begin();
  EXPECT_EQ(loss.getLoss().getType(),
            mlir::RankedTensorType::get({1}, mlir::Float64Type::get(&context)));
}

} // namespace
} // namespace moe
