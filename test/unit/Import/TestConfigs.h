//===- TestConfigs.h - the example configurations, for tests ----*- C++ -*-===//
#pragma once

#include "compiler/Import/ModelConfig.h"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <fstream>
#include <iterator>
#include <map>
#include <string>
#include <vector>

namespace moe::model {

inline const std::vector<std::string> &exampleNames() {
  static const std::vector<std::string> names = {
      "deepseek-v2-lite", "deepseek-v3", "glm-4.5-air",     "gpt-oss-20b",
      "mixtral-8x7b",     "olmoe-1b-7b", "qwen3-235b-a22b", "qwen3-30b-a3b"};
  return names;
}

inline std::string examplePath(const std::string &name) {
  return "examples/models/" + name + ".json";
}

inline nlohmann::json exampleJson(const std::string &name) {
  static std::map<std::string, nlohmann::json> read;
  auto [it, isNew] = read.try_emplace(name);
  if (isNew) {
    std::ifstream file(examplePath(name));
    it->second =
        nlohmann::json::parse(std::string(std::istreambuf_iterator<char>(file),
                                          std::istreambuf_iterator<char>()));
  }
  return it->second;
}

inline ModelConfig example(const std::string &name) {
  static std::map<std::string, ModelConfig> imported;
  auto it = imported.find(name);
  if (it == imported.end()) {
    Result<ModelConfig> config = readHfConfig(examplePath(name));
    EXPECT_TRUE(config.ok()) << (config ? "" : config.error().message);
    it = imported.emplace(name, config ? *config : ModelConfig()).first;
  }
  return it->second;
}

} // namespace moe::model
