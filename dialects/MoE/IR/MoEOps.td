//===- MoEOps.td - the whole moe dialect ----------------------*- tablegen -*-===//

#ifndef MOE_DIALECTS_MOE_IR_MOEOPS_TD
#define MOE_DIALECTS_MOE_IR_MOEOPS_TD

include "dialects/MoE/IR/MoEModelOps.td"
include "dialects/MoE/IR/MoEForwardOps.td"
include "dialects/MoE/IR/MoEBackwardOps.td"
include "dialects/MoE/IR/MoEWeightGradOps.td"

#endif // MOE_DIALECTS_MOE_IR_MOEOPS_TD
