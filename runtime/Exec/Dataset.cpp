#include "runtime/Exec/Dataset.h"

#include "runtime/Exec/Hash.h"

#include <algorithm>
#include <fstream>
#include <iterator>

namespace moe::exec {

Result<Dataset> Dataset::read(const std::string &path, int64_t sequenceLength) {
  std::ifstream file(path, std::ios::binary);
  if (!file)
    return Error{"cannot open data file '" + path + "'"};
  std::vector<uint8_t> bytes{std::istreambuf_iterator<char>(file),
                             std::istreambuf_iterator<char>()};
  if (file.bad())
    return Error{"cannot read data file '" + path + "'"};
  return fromBytes(std::move(bytes), sequenceLength,
                   "data file '" + path + "'");
}

Result<Dataset> Dataset::fromBytes(std::vector<uint8_t> bytes,
                                   int64_t sequenceLength,
                                   const std::string &name) {
  int64_t size = static_cast<int64_t>(bytes.size());
  if (size < sequenceLength + 2)
    return Error{name + " has " + std::to_string(size) +
                 " bytes; sequences of " + std::to_string(sequenceLength) +
                 " tokens need at least " + std::to_string(sequenceLength + 2)};
  Dataset dataset;
  dataset.data = std::move(bytes);
  dataset.length = sequenceLength;
  dataset.largest = *std::max_element(dataset.data.begin(), dataset.data.end());
  return dataset;
}

void Dataset::copySequence(int64_t sequence, int64_t shift,
                           std::span<int32_t> tokens) const {
  uint64_t starts = static_cast<uint64_t>(bytes() - length - 1);
  size_t start = mix(static_cast<uint64_t>(sequence)) % starts +
                 static_cast<size_t>(shift);
  for (size_t i = 0; i < tokens.size(); ++i)
    tokens[i] = data[start + i];
}

} // namespace moe::exec
