#include "runtime/Exec/Dataset.h"

#include "runtime/Exec/Hash.h"

#include <algorithm>
#include <filesystem>
#include <fstream>

namespace moe::exec {

Result<Dataset> Dataset::read(const std::string &path, int64_t sequenceLength,
                              int64_t furthestShift) {
  std::error_code code;
  std::filesystem::file_status status = std::filesystem::status(path, code);
  // A folder cannot be read, and some devices have no end.
  if (std::filesystem::exists(status) &&
      !std::filesystem::is_regular_file(status) &&
      !std::filesystem::is_fifo(status))
    return Error{"data file '" + path +
                 "' is neither a regular file nor a pipe"};
  std::ifstream file(path, std::ios::binary);
  if (!file)
    return Error{"cannot open data file '" + path + "'"};
  std::vector<uint8_t> bytes;
  std::vector<char> block(1 << 20);
  do {
    file.read(block.data(), static_cast<std::streamsize>(block.size()));
    bytes.insert(bytes.end(), block.begin(), block.begin() + file.gcount());
  } while (file);
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
