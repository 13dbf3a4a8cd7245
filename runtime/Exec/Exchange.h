//===- Exchange.h - moving rows between ranks -------------------*- C++ -*-===//
//
// The four ops that send tokens to their experts and back. The kernels order
// rows in staging (send order); here the rows travel between the staging of
// one rank and the rows of another, without a further copy.
//
//===----------------------------------------------------------------------===//
#pragma once

#include "runtime/Exec/Signature.h"

namespace moe::exec {

/// Inputs x, probabilities, experts; outputs rows, row_probabilities, counts,
/// handle. An error, the same on all ranks of the group, when a rank would
/// receive more rows than the capacity.
Status dispatch(const CallContext &call);
/// Inputs rows, handle; output out.
Status combine(const CallContext &call);
/// Inputs d_rows, d_row_probabilities, handle; outputs d_x, d_probabilities.
Status dispatchInputGrad(const CallContext &call);
/// Inputs d_out, handle; output d_rows.
Status combineInputGrad(const CallContext &call);

/// Scratch of combine and combine_input_grad: staging rows.
int64_t stagingBytes(const Dimensions &d, int64_t storageBytes,
                     int64_t wideBytes);
/// Scratch of dispatch and dispatch_input_grad: staging rows, then one f32
/// (f64) for each, both parts aligned.
int64_t stagingBytesWithScalars(const Dimensions &d, int64_t storageBytes,
                                int64_t wideBytes);

} // namespace moe::exec
