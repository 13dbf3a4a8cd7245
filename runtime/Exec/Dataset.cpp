#include "runtime/Exec/Dataset.h"

#include "runtime/Exec/Hash.h"

#include <algorithm>
#include <fstream>
#include <iterator>

namespace moe::exec {

Result<Dataset> Dataset::read(const std::string &path, int64_t sequenceLength,
                              int64_t furthestShift) {
  std::ifstream file(path, std::ios::binary);
  if (!file)
    return Error{"cannot open data file '" + path + "'"};
  std::vector<uint8_t> bytes{std::istreambuf_iterator<char>(file),
                             std::istreambuf_iterator<char>()};
  if (file.bad())
    return Error{"cannot read data file '" + path + "'"};
  return fromBytes(std::move(bytes), sequenceLength, "data file '" + path + "'",
                   furthestShift);
}

Result<Dataset> Dataset::fromBytes(std::vector<uint8_t> bytes,
                                   int64_t sequenceLength,
                                   const std::string &name,
                                   int64_t furthestShift) {
  int64_t size = static_cast<int64_t>(bytes.size());
  int64_t least = sequenceLength + std::max<int64_t>(2, furthestShift);
  if (size < least)
    return Error{name + " has " + std::to_string(size) +
                 " bytes; sequences of " + std::to_string(sequenceLength) +
                 " tokens need at least " + std::to_string(least)};
  Dataset dataset;
  dataset.data = std::move(bytes);
  dataset.length = sequenceLength;
  dataset.furthest = furthestShift;
  dataset.largest = *std::max_element(dataset.data.begin(), dataset.data.end());
  return dataset;
}

void Dataset::copySequence(int64_t sequence, int64_t shift,
                           std::span<int32_t> tokens) const {
  int64_t spare = std::max<int64_t>(1, furthest - 1);
  uint64_t starts = static_cast<uint64_t>(bytes() - length - spare);
  size_t start = mix(static_cast<uint64_t>(sequence)) % starts +
                 static_cast<size_t>(shift);
  for (size_t i = 0; i < tokens.size(); ++i)
    tokens[i] = data[start + i];
}

} // namespace moe::exec
