//===- KindBenchTest.cpp - a kind of block under treatments ---------------===//

#include "passes/Policies/KindBench.h"

#include "test/unit/Policies/Differentiated.h"

#include <gtest/gtest.h>

#include <algorithm>

using namespace mlir;
using namespace moe;
using optimize::LayerFigures;
using optimize::LayerTreatment;
using optimize::Treatment;

namespace {

class KindBenches : public test::Differentiated {
protected:
  static constexpr Techniques everything = {.recompute = true, .offload = true};

  static bool hasLate(const LayerTreatment &treatment) {
    return llvm::is_contained(treatment, Treatment::offload_late);
  }

  optimize::LayerOptions found(KindBench &bench, Techniques techniques) {
    FailureOr<optimize::LayerOptions> options = bench.find(techniques);
    EXPECT_TRUE(succeeded(options));
    return succeeded(options) ? std::move(*options) : optimize::LayerOptions();
  }

  Neighbours middle() { return {layers[1], layers[2], layers[0]}; }
};

} // namespace

// Ways with a late return are among those of a layer between others, with fewer
// bytes ahead than the same without, and take nothing else at a stage's end.
TEST_F(KindBenches, WhatMayComeLateIsWeighed) {
  KindBench bench(middle(), *symbols, timing, {});
  const optimize::LayerOptions options = found(bench, everything);
  EXPECT_GT(options.treatments.size(), 40u);
  int64_t late = 0, both = 0;
  for (size_t i = 0; i < options.treatments.size(); ++i) {
    if (!hasLate(options.treatments[i]))
      continue;
    ++late;
    LayerTreatment early = options.treatments[i];
    llvm::replace(early, Treatment::offload_late, Treatment::offload);
    for (size_t j = 0; j < options.treatments.size(); ++j)
      if (options.treatments[j] == early) {
        const LayerFigures &a = options.figures[i], &b = options.figures[j];
        EXPECT_LE(a.inside.aheadBytes, b.inside.aheadBytes);
        EXPECT_LE(a.inside.backward.earlyNs, b.inside.backward.earlyNs);
        EXPECT_EQ(a.inside.hostBytes, b.inside.hostBytes);
        EXPECT_EQ(a.last.extraNs, b.last.extraNs);
        ++both;
      }
  }
  EXPECT_GT(late, 5);
  EXPECT_GT(both, 0);
}

// With a lead of none all comes late; where nothing is offloaded nothing does.
TEST_F(KindBenches, NothingIsLateWithoutLeadOrOffload) {
  KindBench bench(middle(), *symbols, timing, {.leadLayers = 0});
  Techniques techniques = everything;
  techniques.leadLayers = 0;
  for (const LayerTreatment &each : found(bench, techniques).treatments)
    EXPECT_FALSE(hasLate(each));
  KindBench again(middle(), *symbols, timing, {});
  for (const LayerFigures &each : found(again, {.recompute = true}).figures) {
    EXPECT_EQ(each.inside.hostBytes, 0);
    EXPECT_EQ(each.inside.backward.earlyNs, 0);
    EXPECT_GT(each.inside.backward.linkFreeNs, 0);
  }
}

// What is measured again in the same place is the same.
TEST_F(KindBenches, MeasuresTheSameAgain) {
  KindBench bench(middle(), *symbols, timing, {}),
      other(middle(), *symbols, timing, {});
  const optimize::LayerOptions first = found(bench, everything);
  FailureOr<optimize::LayerOptions> again = other.measureAgain(first, bench);
  ASSERT_TRUE(succeeded(again));
  EXPECT_TRUE(first.figures == again->figures);
}
