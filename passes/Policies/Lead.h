//===- Lead.h - how early what an op needs is issued ------------*- C++ -*-===//
#pragma once

#include "mlir/IR/Operation.h"

#include <cstdint>

namespace moe {

/// How early a value comes back.
struct OffloadLead {
  int64_t layers = 1; ///< before the layer that uses it first
  int64_t ops = 0;    ///< above 0: as many ops before its first use instead
};

/// The first op of a region that uses its `argument`, its yield left out; null
/// when there is none.
mlir::Operation *firstUser(mlir::BlockArgument argument);

/// The op before which is issued, on another stream, what `user` is the first
/// to need; behind the copies that were issued there before.
mlir::Operation *pointAhead(mlir::Operation *user, const OffloadLead &lead);

} // namespace moe
