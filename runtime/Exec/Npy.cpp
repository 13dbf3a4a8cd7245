#include "runtime/Exec/Npy.h"

#include "runtime/Exec/Bfloat16.h"

#include <algorithm>
#include <bit>
#include <cstring>

static_assert(std::endian::native == std::endian::little,
              "the files are little-endian");

namespace moe::exec {

static std::string_view descriptor(DType dtype) {
  switch (dtype) {
  case DType::f64:
    return "<f8";
  case DType::i32:
    return "<i4";
  case DType::f32:
  case DType::bf16:
    break;
  }
  return "<f4";
}

Result<NpyWriter> NpyWriter::create(const std::string &directory,
                                    const std::string &name, DType dtype,
                                    const std::vector<int64_t> &shape) {
  std::string fileName = name;
  std::replace(fileName.begin(), fileName.end(), '/', '_');
  NpyWriter writer;
  writer.path = directory + "/" + fileName + ".npy";
  writer.dtype = dtype;
  writer.file.open(writer.path, std::ios::binary | std::ios::trunc);
  if (!writer.file)
    return Error{"cannot create '" + writer.path + "'"};

  std::string header = "{'descr': '" + std::string(descriptor(dtype)) +
                       "', 'fortran_order': False, 'shape': (";
  for (int64_t dim : shape)
    header += std::to_string(dim) + ",";
  header += "), }";
  // Magic, version, length and header together fill a multiple of 64 bytes.
  constexpr size_t kPrefix = 10;
  header.resize((kPrefix + header.size() + 1 + 63) / 64 * 64 - kPrefix - 1,
                ' ');
  header += '\n';
  std::string prefix("\x93NUMPY\x01\x00", 8);
  prefix += static_cast<char>(header.size() & 0xff);
  prefix += static_cast<char>(header.size() >> 8);
  writer.file << prefix << header;
  return writer;
}

Status NpyWriter::append(const void *data, int64_t elements, DType source) {
  if (source == dtype) {
    file.write(static_cast<const char *>(data), elements * byteSize(source));
  } else {
    std::vector<float> wide(
        static_cast<size_t>(std::min<int64_t>(elements, 65536)));
    const auto *bits = static_cast<const uint16_t *>(data);
    for (int64_t at = 0; at < elements;) {
      size_t count = static_cast<size_t>(
          std::min<int64_t>(elements - at, static_cast<int64_t>(wide.size())));
      for (size_t i = 0; i < count; ++i)
        wide[i] = fromBfloat16(bits[at + static_cast<int64_t>(i)]);
      file.write(reinterpret_cast<const char *>(wide.data()),
                 static_cast<std::streamsize>(count * sizeof(float)));
      at += static_cast<int64_t>(count);
    }
  }
  return file ? Status() : Status(Error{"cannot write '" + path + "'"});
}

Status NpyWriter::finish() {
  file.close();
  return file ? Status() : Status(Error{"cannot write '" + path + "'"});
}

} // namespace moe::exec
