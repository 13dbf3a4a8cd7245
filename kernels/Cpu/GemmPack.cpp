//===- GemmPack.cpp - panels of matrix factors ----------------------------===//

#include "kernels/Cpu/Gemm.h"

#if MOE_ISA != MOE_ISA_PORTABLE
#include <immintrin.h>
#endif

MOE_ISA_BEGIN
namespace moe::kernels::MOE_ISA_NAME {
namespace {

/// Values next to each other along the panel: rows are copied.
template <int width, typename T, typename S>
void packAlongPanel(const S *source, int64_t depthStride, int64_t count,
                    int64_t depth, T *packed) {
  for (int64_t first = 0; first < count; first += width) {
    const int64_t used = count - first < width ? count - first : width;
    const S *column = source + first;
    if (used == width) {
      for (int64_t k = 0; k < depth; ++k, packed += width)
        for (int p = 0; p < width; ++p)
          packed[p] = widen(column[k * depthStride + p]);
      continue;
    }
    for (int64_t k = 0; k < depth; ++k, packed += width)
      for (int64_t p = 0; p < width; ++p)
        packed[p] = p < used ? widen(column[k * depthStride + p]) : T(0);
  }
}

#if MOE_ISA != MOE_ISA_PORTABLE
inline __m256 loadEight(const float *source) { return _mm256_loadu_ps(source); }
inline __m256 loadEight(const BFloat16 *source) {
  const __m128i bits =
      _mm_loadu_si128(reinterpret_cast<const __m128i *>(source));
  return _mm256_castsi256_ps(
      _mm256_slli_epi32(_mm256_cvtepu16_epi32(bits), 16));
}

/// Four rows of eight values become eight columns of four, `width` apart.
template <int width, typename S>
void transposeTile(const S *source, int64_t panelStride, float *packed) {
  const __m256 row0 = loadEight(source);
  const __m256 row1 = loadEight(source + panelStride);
  const __m256 row2 = loadEight(source + 2 * panelStride);
  const __m256 row3 = loadEight(source + 3 * panelStride);
  const __m256 low01 = _mm256_unpacklo_ps(row0, row1);
  const __m256 high01 = _mm256_unpackhi_ps(row0, row1);
  const __m256 low23 = _mm256_unpacklo_ps(row2, row3);
  const __m256 high23 = _mm256_unpackhi_ps(row2, row3);
  const __m256 columns[4] = {
      _mm256_shuffle_ps(low01, low23, 0x44),
      _mm256_shuffle_ps(low01, low23, 0xee),
      _mm256_shuffle_ps(high01, high23, 0x44),
      _mm256_shuffle_ps(high01, high23, 0xee),
  };
  for (int k = 0; k < 4; ++k) {
    _mm_storeu_ps(packed + k * width, _mm256_castps256_ps128(columns[k]));
    _mm_storeu_ps(packed + (k + 4) * width,
                  _mm256_extractf128_ps(columns[k], 1));
  }
}
#endif

/// Values next to each other along the depth: a transposition.
template <int width, typename T, typename S>
void packAlongDepth(const S *source, int64_t panelStride, int64_t count,
                    int64_t depth, T *packed) {
  for (int64_t first = 0; first < count;
       first += width, packed += width * depth) {
    const int64_t used = count - first < width ? count - first : width;
    const S *panel = source + first * panelStride;
    int64_t transposed = 0;
#if MOE_ISA != MOE_ISA_PORTABLE
    if constexpr (sizeof(T) == sizeof(float)) {
      transposed = used / 4 * 4;
      for (int64_t k = 0; k + 8 <= depth; k += 8)
        for (int64_t p = 0; p < transposed; p += 4)
          transposeTile<width>(panel + p * panelStride + k, panelStride,
                               packed + k * width + p);
      for (int64_t k = depth / 8 * 8; k < depth; ++k)
        for (int64_t p = 0; p < transposed; ++p)
          packed[k * width + p] = widen(panel[p * panelStride + k]);
    }
#endif
    for (int64_t p = transposed; p < used; ++p)
      for (int64_t k = 0; k < depth; ++k)
        packed[k * width + p] = widen(panel[p * panelStride + k]);
    for (int64_t k = 0; used < width && k < depth; ++k)
      for (int64_t p = used; p < width; ++p)
        packed[k * width + p] = T(0);
  }
}

template <int width, typename T>
void pack(const Operand &operand, int64_t count, int64_t depth, T *packed) {
  withStorage(operand.type, [&](auto tag) {
    using S = typename decltype(tag)::Type;
    if constexpr (sizeof(Accumulator<S>) == sizeof(T)) {
      const auto *source = static_cast<const S *>(operand.data);
      if (operand.depthStride == 1)
        packAlongDepth<width>(source, operand.panelStride, count, depth,
                              packed);
      else
        packAlongPanel<width>(source, operand.depthStride, count, depth,
                              packed);
    } else {
      assert(false && "factors of f32 and f64 do not mix");
    }
  });
}

} // namespace

template <typename T>
void packA(const Operand &operand, int64_t count, int64_t depth, T *packed) {
  pack<RegisterTile<T>::rows>(operand, count, depth, packed);
}

template <typename T>
void packB(const Operand &operand, int64_t count, int64_t depth, T *packed) {
  pack<RegisterTile<T>::columns>(operand, count, depth, packed);
}

template void packA(const Operand &, int64_t, int64_t, float *);
template void packA(const Operand &, int64_t, int64_t, double *);
template void packB(const Operand &, int64_t, int64_t, float *);
template void packB(const Operand &, int64_t, int64_t, double *);

} // namespace moe::kernels::MOE_ISA_NAME
MOE_ISA_END
