"""The reduced models that the oracle tests run: small, and with everything in
them that sets their family apart."""

FAMILIES = {
    # Latent attention without low-rank queries, shared experts, a dense layer,
    # greedy softmax routing without normalization, YaRN.
    "deepseek_v2": (
        "deepseek-v2-lite",
        "layers=4,hidden=64,vocabulary=256,heads=4,kv_lora_rank=16,nope_dim=16,"
        "rope_dim=8,v_dim=12,intermediate=96,experts=8,moe_intermediate=32,"
        "shared_intermediate=48,top_k=3",
    ),
    # Low-rank queries, groups of experts scored by their two best, sigmoid
    # scores with a correction bias, normalized and scaled.
    "deepseek_v3": (
        "deepseek-v3",
        "first_dense=1,layers=4,mtp=0,hidden=64,vocabulary=256,heads=4,q_lora_rank=24,"
        "kv_lora_rank=16,nope_dim=16,rope_dim=8,v_dim=12,intermediate=96,experts=8,"
        "moe_intermediate=32,shared_intermediate=48,top_k=2,groups=4,top_groups=2",
    ),
    # With the module that predicts the token after the next.
    "deepseek_v3_mtp": (
        "deepseek-v3",
        "first_dense=1,layers=2,mtp=1,hidden=64,vocabulary=256,heads=4,q_lora_rank=24,"
        "kv_lora_rank=16,nope_dim=16,rope_dim=8,v_dim=12,intermediate=96,experts=8,"
        "moe_intermediate=32,shared_intermediate=48,top_k=2,groups=4,top_groups=2",
    ),
    # Norms of each head.
    "qwen3_moe": (
        "qwen3-30b-a3b",
        "layers=4,hidden=64,vocabulary=256,heads=4,kv_heads=2,head_dim=16,experts=8,"
        "moe_intermediate=32,top_k=2",
    ),
    "mixtral": (
        "mixtral-8x7b",
        "layers=4,hidden=64,vocabulary=256,heads=4,kv_heads=2,head_dim=16,"
        "moe_intermediate=96,experts=4",
    ),
    # Biases everywhere, sinks, every other layer with a window, clamped SwiGLU.
    "gpt_oss": (
        "gpt-oss-20b",
        "layers=4,hidden=64,vocabulary=256,heads=4,kv_heads=2,head_dim=16,window=16,"
        "experts=8,moe_intermediate=32,top_k=2",
    ),
    # Half of a head's columns rotate; biases of q, k and v only.
    "glm4_moe": (
        "glm-4.5-air",
        "layers=4,mtp=0,hidden=64,vocabulary=256,heads=4,kv_heads=2,head_dim=16,"
        "intermediate=96,experts=8,moe_intermediate=32,shared_intermediate=48,top_k=2",
    ),
    # Norms over all heads together.
    "olmoe": (
        "olmoe-1b-7b",
        "layers=4,hidden=64,vocabulary=256,heads=4,kv_heads=2,head_dim=16,experts=8,"
        "moe_intermediate=32,top_k=2",
    ),
}
