//===- HfConfig.cpp - Hugging Face configurations -------------------------===//

#include "compiler/Import/HfImporter.h"

#include <filesystem>
#include <fstream>

namespace moe::model {

Result<ModelConfig> importHfConfig(std::string_view json, std::string name) {
  Result<Json> document = parseObject(json);
  if (!document)
    return document.error();
  return HfImporter(*document, std::move(name)).run();
}

std::string modelName(const std::string &path) {
  std::filesystem::path location(path);
  if (location.filename() == "config.json" && location.has_parent_path() &&
      location.parent_path().has_filename())
    return location.parent_path().filename().string();
  return location.stem().string();
}

Result<ModelConfig> readHfConfig(const std::string &path) {
  constexpr size_t kLargest = 16 << 20;
  std::ifstream file(path, std::ios::binary);
  if (!file)
    return Error{path + ": cannot be opened; expected the path of a Hugging "
                        "Face config.json"};
  std::string text;
  char chunk[65536];
  while (file.read(chunk, sizeof chunk) || file.gcount() > 0) {
    text.append(chunk, static_cast<size_t>(file.gcount()));
    if (text.size() > kLargest)
      return Error{path + ": is larger than 16 MiB; expected the text of a "
                          "Hugging Face config.json"};
  }
  if (file.bad())
    return Error{path + ": cannot be read"};
  Result<ModelConfig> config = importHfConfig(text, modelName(path));
  if (!config)
    return Error{path + ": " + config.error().message};
  return config;
}

} // namespace moe::model
