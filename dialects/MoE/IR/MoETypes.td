//===- MoETypes.td - types of the moe dialect -----------------*- tablegen -*-===//

#ifndef MOE_DIALECTS_MOE_IR_MOETYPES_TD
#define MOE_DIALECTS_MOE_IR_MOETYPES_TD

include "dialects/MoE/IR/MoEBase.td"

def MoE_HandleType : TypeDef<MoE_Dialect, "Handle"> {
  let mnemonic = "handle";
  let summary = "where the rows of one dispatch went";
  let description = [{
    Made by `moe.dispatch`, used by the combine that brings the rows back and by
    the gradients of both. It is device memory with one owner: it is released
    exactly once, after its last user, and never looked up in a cache. A replay
    of the dispatch makes another handle.

    In memory it is a vector of `tokens * top_k + 2 * experts` 32-bit integers:
    the position of each assignment in send order, the rows sent to each expert,
    and the rows received from each rank for each local expert.

    ```mlir
    !moe.handle<tokens = 4096, top_k = 8, experts = 128>
    ```
  }];
  let parameters = (ins
    "int64_t":$tokens, "int64_t":$top_k, "int64_t":$experts);
  let assemblyFormat = "`<` struct(params) `>`";
  let genVerifyDecl = 1;
  let extraClassDeclaration = [{
    /// Number of 32-bit integers.
    int64_t getElements() const {
      return getTokens() * getTopK() + 2 * getExperts();
    }
  }];
}

#endif // MOE_DIALECTS_MOE_IR_MOETYPES_TD
