//===- GemmTile.cpp - the register tile -----------------------------------===//

#include "kernels/Cpu/Gemm.h"

#if MOE_ISA != MOE_ISA_PORTABLE
#include <immintrin.h>
#endif

MOE_ISA_BEGIN
namespace moe::kernels::MOE_ISA_NAME {
namespace {

/// One vector register of T.
template <typename T> struct Vector;

#if MOE_ISA == MOE_ISA_AVX512
template <> struct Vector<float> {
  using Register = __m512;
  static constexpr int width = 16;
  static Register zero() { return _mm512_setzero_ps(); }
  static Register load(const float *p) { return _mm512_loadu_ps(p); }
  static void store(float *p, Register r) { _mm512_storeu_ps(p, r); }
  static Register broadcast(const float *p) { return _mm512_set1_ps(*p); }
  static Register multiplyAdd(Register a, Register b, Register c) {
    return _mm512_fmadd_ps(a, b, c);
  }
};
template <> struct Vector<double> {
  using Register = __m512d;
  static constexpr int width = 8;
  static Register zero() { return _mm512_setzero_pd(); }
  static Register load(const double *p) { return _mm512_loadu_pd(p); }
  static void store(double *p, Register r) { _mm512_storeu_pd(p, r); }
  static Register broadcast(const double *p) { return _mm512_set1_pd(*p); }
  static Register multiplyAdd(Register a, Register b, Register c) {
    return _mm512_fmadd_pd(a, b, c);
  }
};
#elif MOE_ISA == MOE_ISA_AVX2
template <> struct Vector<float> {
  using Register = __m256;
  static constexpr int width = 8;
  static Register zero() { return _mm256_setzero_ps(); }
  static Register load(const float *p) { return _mm256_loadu_ps(p); }
  static void store(float *p, Register r) { _mm256_storeu_ps(p, r); }
  static Register broadcast(const float *p) { return _mm256_broadcast_ss(p); }
  static Register multiplyAdd(Register a, Register b, Register c) {
    return _mm256_fmadd_ps(a, b, c);
  }
};
template <> struct Vector<double> {
  using Register = __m256d;
  static constexpr int width = 4;
  static Register zero() { return _mm256_setzero_pd(); }
  static Register load(const double *p) { return _mm256_loadu_pd(p); }
  static void store(double *p, Register r) { _mm256_storeu_pd(p, r); }
  static Register broadcast(const double *p) { return _mm256_broadcast_sd(p); }
  static Register multiplyAdd(Register a, Register b, Register c) {
    return _mm256_fmadd_pd(a, b, c);
  }
};
#else
template <typename T> struct Vector {
  using Register = T;
  static constexpr int width = 1;
  static Register zero() { return T(0); }
  static Register load(const T *p) { return *p; }
  static void store(T *p, Register r) { *p = r; }
  static Register broadcast(const T *p) { return *p; }
  static Register multiplyAdd(Register a, Register b, Register c) {
    return portable::multiplyAdd(a, b, c);
  }
};
#endif

/// A whole tile: c = or += a b over `depth`, held in registers throughout.
template <typename T>
void multiplyTile(int64_t depth, const T *a, const T *b, T *c, int64_t stride,
                  bool accumulate) {
  using V = Vector<T>;
  constexpr int rows = RegisterTile<T>::rows;
  constexpr int vectors = RegisterTile<T>::columns / V::width;
  typename V::Register sum[rows][vectors];
  for (int i = 0; i < rows; ++i)
    for (int j = 0; j < vectors; ++j)
      sum[i][j] =
          accumulate ? V::load(c + i * stride + j * V::width) : V::zero();
  for (int64_t k = 0; k < depth; ++k) {
    typename V::Register factor[vectors];
    for (int j = 0; j < vectors; ++j)
      factor[j] = V::load(b + j * V::width);
    for (int i = 0; i < rows; ++i) {
      const typename V::Register value = V::broadcast(a + i);
      for (int j = 0; j < vectors; ++j)
        sum[i][j] = V::multiplyAdd(value, factor[j], sum[i][j]);
    }
    a += rows;
    b += RegisterTile<T>::columns;
  }
  for (int i = 0; i < rows; ++i)
    for (int j = 0; j < vectors; ++j)
      V::store(c + i * stride + j * V::width, sum[i][j]);
}

} // namespace

template <typename T>
void multiplyPacked(int64_t rows, int64_t columns, int64_t depth, const T *a,
                    const T *b, T *c, int64_t stride, bool accumulate) {
  constexpr int tileRows = RegisterTile<T>::rows;
  constexpr int tileColumns = RegisterTile<T>::columns;
  for (int64_t n = 0; n < columns; n += tileColumns) {
    const T *panelB = b + n * depth;
    for (int64_t m = 0; m < rows; m += tileRows) {
      const T *panelA = a + m * depth;
      T *tile = c + m * stride + n;
      if (m + tileRows <= rows && n + tileColumns <= columns) {
        multiplyTile(depth, panelA, panelB, tile, stride, accumulate);
        continue;
      }
      const int64_t usedRows = rows - m < tileRows ? rows - m : tileRows;
      const int64_t usedColumns =
          columns - n < tileColumns ? columns - n : tileColumns;
      T edge[tileRows * tileColumns] = {};
      for (int64_t i = 0; accumulate && i < usedRows; ++i)
        for (int64_t j = 0; j < usedColumns; ++j)
          edge[i * tileColumns + j] = tile[i * stride + j];
      multiplyTile(depth, panelA, panelB, edge, tileColumns, accumulate);
      for (int64_t i = 0; i < usedRows; ++i)
        for (int64_t j = 0; j < usedColumns; ++j)
          tile[i * stride + j] = edge[i * tileColumns + j];
    }
  }
}

template void multiplyPacked(int64_t, int64_t, int64_t, const float *,
                             const float *, float *, int64_t, bool);
template void multiplyPacked(int64_t, int64_t, int64_t, const double *,
                             const double *, double *, int64_t, bool);

} // namespace moe::kernels::MOE_ISA_NAME
MOE_ISA_END
