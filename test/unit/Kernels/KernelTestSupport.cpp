#include "test/unit/Kernels/KernelTestSupport.h"

#include "gtest/gtest.h"

#include <cmath>
#include <cstring>
#include <numeric>
#include <thread>

namespace moe::kernels::test {

int64_t pick(Random &random, int64_t low, int64_t high) {
  return low + static_cast<int64_t>(random() % (high - low + 1));
}

Array::Array(DType type, std::vector<int64_t> shape)
    : type(type), dims(std::move(shape)),
      count(std::accumulate(dims.begin(), dims.end(), int64_t{1},
                            std::multiplies<>())),
      storage(new char[static_cast<size_t>(count * byteSize(type))]()) {}

Array Array::uniform(Random &random, DType type, std::vector<int64_t> dims,
                     double low, double high) {
  Array array(type, std::move(dims));
  for (int64_t i = 0; i < array.count; ++i) {
    const double unit = static_cast<double>(random()) / 4294967296.0;
    array.set(i, roundToBFloat16(low + (high - low) * unit));
  }
  return array;
}

Array Array::integers(const std::vector<int32_t> &values,
                      std::vector<int64_t> dims) {
  Array array(DType::i32, std::move(dims));
  std::memcpy(array.storage.get(), values.data(), values.size() * 4);
  return array;
}

double Array::get(int64_t i) const {
  switch (type) {
  case DType::bf16: {
    uint16_t half;
    std::memcpy(&half, storage.get() + 2 * i, 2);
    const uint32_t bits = static_cast<uint32_t>(half) << 16;
    float value;
    std::memcpy(&value, &bits, 4);
    return value;
  }
  case DType::f32: {
    float value;
    std::memcpy(&value, storage.get() + 4 * i, 4);
    return value;
  }
  case DType::f64: {
    double value;
    std::memcpy(&value, storage.get() + 8 * i, 8);
    return value;
  }
  case DType::i32:
    return integer(i);
  }
  return 0;
}

void Array::set(int64_t i, double value) {
  switch (type) {
  case DType::bf16: {
    const auto rounded = static_cast<float>(roundToBFloat16(value));
    uint32_t bits;
    std::memcpy(&bits, &rounded, 4);
    const auto half = static_cast<uint16_t>(bits >> 16);
    std::memcpy(storage.get() + 2 * i, &half, 2);
    return;
  }
  case DType::f32: {
    const auto single = static_cast<float>(value);
    std::memcpy(storage.get() + 4 * i, &single, 4);
    return;
  }
  case DType::f64:
    std::memcpy(storage.get() + 8 * i, &value, 8);
    return;
  case DType::i32: {
    const auto whole = static_cast<int32_t>(value);
    std::memcpy(storage.get() + 4 * i, &whole, 4);
    return;
  }
  }
}

int32_t Array::integer(int64_t i) const {
  int32_t value;
  std::memcpy(&value, storage.get() + 4 * i, 4);
  return value;
}

void Array::poison() {
  std::memset(storage.get(), 0xff, static_cast<size_t>(count * byteSize(type)));
}

std::vector<double> Array::values() const {
  std::vector<double> result(static_cast<size_t>(count));
  for (int64_t i = 0; i < count; ++i)
    result[static_cast<size_t>(i)] = get(i);
  return result;
}

std::string Array::bytes() const {
  return {storage.get(), static_cast<size_t>(count * byteSize(type))};
}

Array::operator Tensor() const {
  Tensor tensor;
  tensor.data = storage.get();
  tensor.dtype = type;
  tensor.rank = static_cast<int>(dims.size());
  for (size_t i = 0; i < dims.size(); ++i)
    tensor.dims[i] = dims[i];
  return tensor;
}

double roundToBFloat16(double value) {
  if (value == 0 || !std::isfinite(value))
    return value;
  int exponent;
  const double mantissa = std::frexp(value, &exponent);
  return std::ldexp(std::nearbyint(std::ldexp(mantissa, 8)), exponent - 8);
}

Parallel TestPool::parallel() { return {this, run}; }

void TestPool::run(void *pool, int64_t n,
                   void (*body)(int64_t, int64_t, void *), void *context) {
  const int64_t threads = static_cast<TestPool *>(pool)->threads;
  std::vector<std::thread> workers;
  // Chunk i is (i + 1) times as long as the first.
  const int64_t shares = threads * (threads + 1) / 2;
  int64_t begin = 0;
  for (int64_t i = 0; i < threads; ++i) {
    const int64_t end = i + 1 == threads ? n : begin + n * (i + 1) / shares;
    if (begin < end)
      workers.emplace_back([=] { body(begin, end, context); });
    begin = end;
  }
  for (std::thread &worker : workers)
    worker.join();
}

std::vector<Isa> machineIsas() {
  std::vector<Isa> result;
  for (Isa isa : {Isa::portable, Isa::avx2, Isa::avx512})
    if (supports(isa))
      result.push_back(isa);
  return result;
}

const char *name(Isa isa) {
  switch (isa) {
  case Isa::portable:
    return "portable";
  case Isa::avx2:
    return "avx2";
  case Isa::avx512:
    return "avx512";
  }
  return "";
}

double weightedSum(const Array &values, const Array &weights) {
  double sum = 0;
  for (int64_t i = 0; i < values.elements(); ++i)
    sum += values.get(i) * weights.get(i);
  return sum;
}

void expectGradient(const std::function<double()> &value, Array &input,
                    const Array &gradient, const std::string &name,
                    int64_t samples) {
  ASSERT_EQ(input.elements(), gradient.elements()) << name;
  Random random(7);
  const int64_t n = input.elements();
  for (int64_t s = 0; s < std::min(n, samples); ++s) {
    const int64_t i = n <= samples ? s : pick(random, 0, n - 1);
    const double before = input.get(i), step = 1e-5;
    input.set(i, before + step);
    const double above = value();
    input.set(i, before - step);
    const double below = value();
    input.set(i, before);
    const double difference = (above - below) / (2 * step);
    EXPECT_NEAR(gradient.get(i), difference, 1e-7 * (1 + std::abs(difference)))
        << name << ", element " << i << " of " << n;
  }
}

} // namespace moe::kernels::test
