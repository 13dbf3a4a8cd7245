//===- CbcLibrary.h - COIN-OR CBC, loaded when it is needed -----*- C++ -*-===//
//
// Private to Exact.cpp. CBC brings a BLAS along, whose threads start, and spin
// for a while, as soon as it is loaded: a program that solves nothing exactly
// should not pay for that.
//
//===----------------------------------------------------------------------===//
#pragma once

#include <Cbc_C_Interface.h>

namespace moe::schedule {

/// The functions of CBC's C interface that are used.
struct CbcLibrary {
  decltype(&Cbc_newModel) newModel;
  decltype(&Cbc_deleteModel) deleteModel;
  decltype(&Cbc_loadProblem) loadProblem;
  decltype(&Cbc_setInteger) setInteger;
  decltype(&Cbc_setParameter) setParameter;
  decltype(&Cbc_solve) solve;
  decltype(&Cbc_getNodeCount) getNodeCount;
  decltype(&Cbc_isProvenOptimal) isProvenOptimal;
  decltype(&Cbc_isProvenInfeasible) isProvenInfeasible;
  decltype(&Cbc_bestSolution) bestSolution;
  decltype(&Cbc_getObjValue) getObjValue;
  decltype(&Cbc_getBestPossibleObjValue) getBestPossibleObjValue;

  /// Loads it once, and keeps it; null where it, or one of the functions, is
  /// not there.
  static const CbcLibrary *get();
};

} // namespace moe::schedule
